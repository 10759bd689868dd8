/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads and writes bytes of a frame wherever they stand, under either hook; and keeps the sums over them right. */
#pragma once

#include "checksum.h"
#include "decap_packet.h"

/* Known when compiling, so that a program holds only its own hook's way. */
enum hook {
	XDP,
	TC,
};

#define FRAME_MAX 0x3fff	/* of an offset: beyond any header that is read, and what the verifier can follow */

/*
 * Under XDP, where a program sees memory; NULL if the frame ends before that. The
 * verifier believes a check of the very registers that are used after it.
 */
static __always_inline void *bytes_at(const struct xdp_md *ctx, __u64 at, __u32 size)
{
	void *bytes = (void *)(long)ctx->data;

	asm volatile("" : "+r"(at));
	if (at > FRAME_MAX)
		return NULL;
	bytes += at;
	asm volatile("" : "+r"(bytes));
	return bytes + size > (void *)(long)ctx->data_end ? NULL : bytes;
}

/* Zero if it could be done. */
static __always_inline int read_at(void *ctx, enum hook hook, __u32 at, void *to, __u32 size)
{
	void *bytes;

	if (hook == TC)
		return bpf_skb_load_bytes(ctx, at, to, size);
	bytes = bytes_at(ctx, at, size);
	if (!bytes)
		return -1;
	/* As aligned as all that are read are within their packet; else clang copies byte by byte. */
	__builtin_memcpy(to, __builtin_assume_aligned(bytes, sizeof(__u32)), size);
	return 0;
}

/* Likewise. Of ports and sums, which are 16 bits. */
static __always_inline int write_at(void *ctx, enum hook hook, __u32 at, __u16 word)
{
	__u16 *bytes;

	if (hook == TC)
		return bpf_skb_store_bytes(ctx, at, &word, sizeof(word), 0);
	bytes = bytes_at(ctx, at, sizeof(word));
	if (!bytes)
		return -1;
	*bytes = word;
	return 0;
}

/* RFC 768: zero is no sum, and a sum that comes to zero is written as its other form. */
static __always_inline void mend_transport(__sum16 *sum, __u8 protocol, __be16 before, __be16 after)
{
	if (protocol == IPPROTO_UDP && !*sum)
		return;
	mend(sum, before, after);
	if (protocol == IPPROTO_UDP && !*sum)
		*sum = 0xffff;
}

/*
 * The sum at an offset, after a word that it covers has changed. Under tc the
 * kernel does it, who alone knows whether the sum is still to be made: by the
 * card, on the way out, and after GRO on the way in. XDP sees only frames whose
 * sums are made, or whose sums nobody will look at.
 */
static __always_inline int mend_at(void *ctx, enum hook hook, __u32 at, __u8 protocol, __be16 before, __be16 after)
{
	__u64 udp = protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__sum16 sum;

	if (hook == TC)
		return bpf_l4_csum_replace(ctx, at, before, after, sizeof(after) | udp);
	if (read_at(ctx, hook, at, &sum, sizeof(sum)))
		return -1;
	mend_transport(&sum, protocol, before, after);
	return write_at(ctx, hook, at, sum);
}
