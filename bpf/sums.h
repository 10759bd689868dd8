/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sums up what stands in the frame, by RFC 1071. */
#pragma once

#include "checksum.h"
#include "headers.h"

static __always_inline __u16 fold_up(__u32 sum)
{
	return ~fold(sum);
}

#define SUMMED_AT_ONCE 64
#define SUMMED_MAX 256		/* of these: longer than any frame that XDP sees whole */

/* RFC 1071, of so many bytes of the frame. Zero, which no sum with a pseudo header is, where the frame ends before. */
__noinline __u32 sum_frame(struct xdp_md *ctx, __u32 offset, __u32 length, __u32 sum)
{
	for (int i = 0; i < SUMMED_MAX && length >= SUMMED_AT_ONCE; i++) {
		void *at = header_at(ctx, offset, SUMMED_AT_ONCE);

		if (!at)
			return 0;
		sum = bpf_csum_diff(NULL, 0, at, SUMMED_AT_ONCE, sum);
		offset += SUMMED_AT_ONCE;
		length -= SUMMED_AT_ONCE;
	}
	if (length >= SUMMED_AT_ONCE)
		return 0;
	sum = fold_up(sum);
	for (int i = 0; i < SUMMED_AT_ONCE / 2 && length >= 2; i++) {
		__u16 *at = header_at(ctx, offset, sizeof(*at));

		if (!at)
			return 0;
		sum += *at;
		offset += sizeof(*at);
		length -= sizeof(*at);
	}
	if (length) {
		__u8 *at = header_at(ctx, offset, sizeof(*at));

		if (!at)
			return 0;
		sum += *at;	/* as if a zero came behind it, on a machine that reads the lower byte first */
	}
	return fold_up(sum);
}

/* Of an IPv4 header without its options, in words. */
static __always_inline __u32 fixed_sum(const struct iphdr *ip)
{
	const __u32 *words = (const void *)ip;
	__u64 sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
}

/*
 * RFC 1812, section 5.2.2, of an IPv4 header of so many bytes. Asked where another
 * takes its place, which would be right whatever has become of this one; where it
 * stays, its checksum changes by what is changed, and it is as wrong as it was.
 */
static __always_inline int is_undamaged_ipv4(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	struct iphdr *ip = header_at(ctx, offset, sizeof(*ip));
	__u32 sum;

	if (!ip)
		return 0;
	sum = fixed_sum(ip);
	if (size > sizeof(*ip))
		sum = sum_frame(ctx, offset + sizeof(*ip), size - sizeof(*ip), sum);
	return fold_up(sum) == 0xffff;
}
