/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The Internet checksum (RFC 1071). Its arithmetic is the same in either byte order. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

static __always_inline __sum16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * RFC 1624, equation 3: a word of what is summed has changed. A right sum stays
 * right, also where it is zero, and a wrong one as wrong.
 */
static __always_inline void mend(__sum16 *checksum, __u16 before, __u16 after)
{
	*checksum = fold((__u16)~*checksum + (__u32)(__u16)~before + after);
}
