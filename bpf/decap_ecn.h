/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Carries the outer header's congestion mark into the inner one: RFC 6040, section 4.2. The DSCP stays the client's (RFC 2983, pipe). */
#pragma once

#include "decap_packet.h"

enum ecn {
	NOT_ECT,	/* RFC 3168, section 5 */
	ECT_1,
	ECT_0,
	CE,
};

/* RFC 1624, equation 3, over the 16 bits that hold the TOS. */
static __always_inline void write_ecn_ipv4(struct iphdr *ip, __u8 ecn)
{
	__u16 *word = (void *)ip;
	__u32 sum = (__u16)~ip->check + (__u16)~*word;

	ip->tos = (ip->tos & ~3) | ecn;
	sum += *word;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

static __always_inline void write_ecn_ipv6(struct ipv6hdr *ip6, __u8 ecn)
{
	ip6->flow_lbl[0] = (ip6->flow_lbl[0] & ~0x30) | ecn << 4;
}

/* Figure 4 of the RFC: the outer field matters only as CE, or as ECT(1) on an inner ECT(0). */
static __always_inline enum decap_outcome carry_ecn(const struct tunnel *tunnel)
{
	__u8 ecn = tunnel->inner_ecn;

	if (tunnel->outer_ecn == CE && ecn == NOT_ECT)
		return DROP_CONGESTED;
	if (tunnel->outer_ecn == CE)
		ecn = CE;
	if (tunnel->outer_ecn == ECT_1 && ecn == ECT_0)
		ecn = ECT_1;

	if (ecn == tunnel->inner_ecn)
		return DECAPSULATE;
	if (tunnel->inner_v6)
		write_ecn_ipv6(tunnel->inner, ecn);
	else
		write_ecn_ipv4(tunnel->inner, ecn);
	return DECAPSULATE;
}
