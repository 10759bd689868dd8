/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Answers an echo request to a VIP in place: the balancer is the host that the VIP is announced from. */
#pragma once

#include "checksum.h"
#include "headers.h"
#include "icmp.h"

#define REPLY_TTL 64

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* A group cannot be where an answer comes from. */
static __always_inline int is_to_group(struct xdp_md *ctx)
{
	struct ethhdr *eth = header_at(ctx, 0, sizeof(*eth));

	return eth && eth->h_dest[0] & 1;
}

/* The first word of an ICMP message, whose type changes and whose code is zero; the rest of it stays. */
static __always_inline void answer_icmp(struct icmp *icmp, __u8 type)
{
	__u16 *first = (__u16 *)icmp;
	__u16 before = *first;

	icmp->type = type;
	mend(&icmp->checksum, before, *first);
}

/*
 * A message of nothing but zeros, as IPv4's answer may be, is the only one whose
 * sum is 0 and not 0xffff, which mending cannot tell apart (RFC 1624, section 3).
 * To whoever adds up, 0xffff is right for both.
 */
static __always_inline void mend_zeros(struct icmp *icmp)
{
	if (!icmp->checksum && !icmp->rest)
		icmp->checksum = 0xffff;
}

/* RFC 792. The IP header's sum does not change with two addresses that change places. */
static __always_inline int answer_ipv4(struct xdp_md *ctx, const struct packet *pkt)
{
	struct iphdr *ip = header_at(ctx, pkt->ip_offset, sizeof(*ip) + sizeof(struct icmp));
	__u16 *ttl_and_protocol = (__u16 *)&ip->ttl;
	__be32 source;
	__u16 before;

	if (!ip)
		return 0;
	source = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = source;
	before = *ttl_and_protocol;
	ip->ttl = REPLY_TTL;
	mend(&ip->check, before, *ttl_and_protocol);
	answer_icmp((struct icmp *)(ip + 1), ICMP_ECHO_REPLY);
	mend_zeros((struct icmp *)(ip + 1));
	return 1;
}

/* RFC 4443, section 4.2. The same goes for the pseudo header. */
static __always_inline int answer_ipv6(struct xdp_md *ctx, const struct packet *pkt)
{
	struct ipv6hdr *ip6 = header_at(ctx, pkt->ip_offset, sizeof(*ip6) + sizeof(struct icmp));

	if (!ip6)
		return 0;
	__builtin_memcpy(&ip6->saddr, &pkt->to.address, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, &pkt->source, sizeof(ip6->daddr));
	ip6->hop_limit = REPLY_TTL;
	answer_icmp((struct icmp *)(ip6 + 1), ICMPV6_ECHO_REPLY);
	return 1;
}

/* For a request whose IP header has nothing behind its fixed part, and whose length is true. */
static __always_inline enum outcome answer_echo(struct xdp_md *ctx, const struct packet *pkt)
{
	struct ethhdr *eth = header_at(ctx, 0, sizeof(*eth));

	if (!eth || !(pkt->to.v6 ? answer_ipv6(ctx, pkt) : answer_ipv4(ctx, pkt)))
		return DROP_UNREADABLE;
	swap_macs(eth);
	return REPLY_ECHO;
}
