/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads the outer headers and the inner one into a struct tunnel. Changes nothing. */
#pragma once

#include "decap_gue.h"

#define IPV4_FRAGMENT 0x3fff	/* RFC 791: more-fragments flag and offset */
#define ECN_MASK 3		/* RFC 3168: the low bits of TOS and traffic class */

/*
 * RFC 1122, 3.2.1.2: the receiver must check the header's sum. The host would
 * have done so before its own tunnel device; nobody does it after us.
 */
static __always_inline int sums_up(const struct iphdr *ip)
{
	const __u16 *word = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / sizeof(*word)); i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static __always_inline enum decap_outcome parse_outer_ipv4(struct cursor *cursor, struct tunnel *tunnel)
{
	__u32 left = cursor->left;
	struct iphdr *ip = take(cursor, sizeof(*ip));
	__u32 length;

	if (!ip)
		return PASS_OUTER_CUT_SHORT;
	tunnel->gue = ip->protocol == IPPROTO_UDP && to_gue_port(cursor, (void *)ip + ip->ihl * 4, ip->frag_off);
	if (!tunnel->gue && !carries_ip(ip->protocol))
		return PASS_NOT_TUNNEL;
	if (ip->version != 4 || ip->ihl < 5)
		return PASS_OUTER_SENSELESS;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return PASS_OUTER_FRAGMENT;
	if (ip->ihl > 5)
		return PASS_OUTER_OPTIONS;
	length = bpf_ntohs(ip->tot_len);
	if (length < sizeof(*ip) || length > left || !sums_up(ip))
		return PASS_OUTER_SENSELESS;

	tunnel->source.address.word[2] = bpf_htonl(0xffff);
	tunnel->source.address.word[3] = ip->saddr;
	tunnel->outer_size = sizeof(*ip);
	tunnel->room = length - sizeof(*ip);
	tunnel->outer_ecn = ip->tos & ECN_MASK;
	tunnel->inner_v6 = ip->protocol == IPPROTO_IPV6;
	return DECAPSULATE;
}

/* An extension header between the outer header and an inner one. Chains of several are not followed: we never send even one. */
static __always_inline enum decap_outcome name_extension(struct cursor *cursor, __u8 next)
{
	__u8 *extension;

	switch (next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
		extension = take(cursor, 8);
		if (!extension || !carries_ip(extension[0]))
			return PASS_NOT_TUNNEL;
		return next == IPPROTO_FRAGMENT ? PASS_OUTER_FRAGMENT : PASS_OUTER_OPTIONS;
	default:
		return PASS_NOT_TUNNEL;
	}
}

static __always_inline enum decap_outcome parse_outer_ipv6(struct cursor *cursor, struct tunnel *tunnel)
{
	struct ipv6hdr *ip6 = take(cursor, sizeof(*ip6));
	__u32 length;

	if (!ip6)
		return PASS_OUTER_CUT_SHORT;
	tunnel->gue = ip6->nexthdr == IPPROTO_UDP && to_gue_port(cursor, cursor->at, 0);
	if (!tunnel->gue && !carries_ip(ip6->nexthdr))
		return name_extension(cursor, ip6->nexthdr);
	length = bpf_ntohs(ip6->payload_len);
	if (ip6->version != 6 || length > cursor->left)
		return PASS_OUTER_SENSELESS;

	__builtin_memcpy(&tunnel->source.address, &ip6->saddr, sizeof(ip6->saddr));
	tunnel->source.v6 = 1;
	tunnel->outer_size = sizeof(*ip6);
	tunnel->room = length;
	tunnel->outer_ecn = ip6->flow_lbl[0] >> 4 & ECN_MASK;
	tunnel->inner_v6 = ip6->nexthdr == IPPROTO_IPV6;
	return DECAPSULATE;
}

static __always_inline enum decap_outcome parse_inner_ipv4(struct cursor *cursor, struct tunnel *tunnel)
{
	struct iphdr *ip = take(cursor, sizeof(*ip));

	/* What lies behind the tunnel packet's end is Ethernet padding, not a header. */
	if (!ip || tunnel->room < sizeof(*ip))
		return PASS_INNER_CUT_SHORT;
	if (ip->version != 4 || ip->ihl < 5)
		return PASS_INNER_SENSELESS;

	tunnel->vip.address.word[2] = bpf_htonl(0xffff);
	tunnel->vip.address.word[3] = ip->daddr;
	tunnel->inner = ip;
	tunnel->inner_length = bpf_ntohs(ip->tot_len);
	tunnel->inner_least = ip->ihl * 4;
	tunnel->inner_ecn = ip->tos & ECN_MASK;
	return DECAPSULATE;
}

static __always_inline enum decap_outcome parse_inner_ipv6(struct cursor *cursor, struct tunnel *tunnel)
{
	struct ipv6hdr *ip6 = take(cursor, sizeof(*ip6));

	if (!ip6 || tunnel->room < sizeof(*ip6))
		return PASS_INNER_CUT_SHORT;
	if (ip6->version != 6)
		return PASS_INNER_SENSELESS;

	__builtin_memcpy(&tunnel->vip.address, &ip6->daddr, sizeof(ip6->daddr));
	tunnel->vip.v6 = 1;
	tunnel->inner = ip6;
	tunnel->inner_length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	tunnel->inner_least = sizeof(*ip6);
	tunnel->inner_ecn = ip6->flow_lbl[0] >> 4 & ECN_MASK;
	return DECAPSULATE;
}

static __always_inline enum decap_outcome parse_outer(struct cursor *cursor, struct tunnel *tunnel)
{
	struct ethhdr *eth = take(cursor, sizeof(*eth));

	if (!eth)
		return PASS_OUTER_CUT_SHORT;
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return parse_outer_ipv4(cursor, tunnel);
	case bpf_htons(ETH_P_IPV6):
		return parse_outer_ipv6(cursor, tunnel);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return PASS_TAGGED;
	default:
		return PASS_NOT_TUNNEL;
	}
}

static __always_inline enum decap_outcome parse_inner(struct cursor *cursor, struct tunnel *tunnel)
{
	if (tunnel->inner_v6)
		return parse_inner_ipv6(cursor, tunnel);
	return parse_inner_ipv4(cursor, tunnel);
}
