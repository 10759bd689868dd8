/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ICMP of both families, as far as the program reads and writes it. Not from
 * linux/icmp.h, which wants the C library of the machine that BPF looks like.
 */
#pragma once

#include <linux/types.h>

#define ICMP_UNREACHABLE 3	/* RFC 792 */
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMPV6_TOO_BIG 2	/* RFC 4443 */

struct icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;		/* RFC 792's second word; IPv4's next-hop MTU is its lower half (RFC 1191), IPv6's all of it */
};
