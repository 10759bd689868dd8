/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Copies frames to memory that a process reads. Perf rings would do that alone, but
 * Debian (kernel.perf_event_paranoid=3) gives them to CAP_SYS_ADMIN only, and the
 * helper that copies (bpf_xdp_load_bytes) came with Linux 5.18.
 */
#pragma once

#include <linux/bpf.h>

/*
 * The first bytes of a frame, and up to seven more. There is room for a multiple of
 * eight. To be called from global functions: those the verifier looks at once, however
 * many ways lead there.
 */
static __always_inline void copy_frame(struct xdp_md *ctx, __u8 *to, __u32 room, __u64 bytes)
{
	void *from = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 last = end - from - sizeof(__u64), at, until;
	__u64 *word;

	/* The last word first, which overlaps: a loop over what is left would be looked at for every place where the next one may end. */
	if (last > room - sizeof(*word))
		last = room - sizeof(*word);
	asm volatile("" : "+r"(last));
	word = from + last;
	if ((void *)(word + 1) > end)
		return;
	*(__u64 *)(to + last) = *word;
	/* Another number than that of bytes: what the loop says of it need not be known of those. */
	until = (bytes + 7) & ~7ull;
	for (at = 0; at < room && at < until; at += sizeof(*word)) {
		word = from + at;
		if ((void *)(word + 1) > end)
			break;
		*(__u64 *)(to + at) = *word;
	}
}
