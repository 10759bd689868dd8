/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ICMP of both families, as far as the program reads and writes it. Not from
 * linux/icmp.h, which wants the C library of the machine that BPF looks like.
 */
#pragma once

#include "packet.h"

#define ICMP_ECHO_REPLY 0	/* RFC 792 */
#define ICMP_UNREACHABLE 3
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_SOURCE_ROUTE_FAILED 5
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

#define ICMPV6_UNREACHABLE 1	/* RFC 4443 */
#define ICMPV6_TOO_BIG 2
#define ICMPV6_TIME_EXCEEDED 3
#define ICMPV6_PARAMETER_PROBLEM 4
#define ICMPV6_ERRONEOUS_FIELD 0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

struct icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;		/* RFC 792's second word; IPv4's next-hop MTU is its lower half (RFC 1191), IPv6's all of it */
};

/* RFC 1122, sections 3.2.1.3 and 3.2.2, and RFC 4443, section 2.4 (e): nothing is sent to what is not one host. */
static __always_inline int is_host(const struct address *address, int v6)
{
	__u32 first = bpf_ntohl(address->word[v6 ? 0 : 3]) >> 24;

	if (!v6)
		return first != 0 && first != 127 && first < 224;
	if (address->word[0] || address->word[1] || address->word[2])
		return first != 0xff;
	return bpf_ntohl(address->word[3]) > 1;
}
