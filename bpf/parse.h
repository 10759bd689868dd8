/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads a frame's headers into a struct packet. Changes nothing and judges nothing that is not needed to tell a VIP. */
#pragma once

#include "packet.h"

struct cursor {
	void *at;
	void *end;
};

/* The header at the cursor, which moves behind it; NULL if the frame ends before that. */
static __always_inline void *take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->at;

	if (header + size > cursor->end)
		return NULL;
	cursor->at = header + size;
	return header;
}

static __always_inline enum outcome parse_tcp(struct cursor *cursor, struct packet *pkt)
{
	struct tcphdr *tcp = take(cursor, sizeof(*tcp));

	if (!tcp)
		return PASS_UNREADABLE;
	pkt->source_port = tcp->source;
	pkt->to.port = tcp->dest;
	pkt->headers += sizeof(*tcp);
	pkt->new_flow = tcp->syn && !tcp->ack;
	return FORWARD;
}

static __always_inline enum outcome parse_udp(struct cursor *cursor, struct packet *pkt)
{
	struct udphdr *udp = take(cursor, sizeof(*udp));

	if (!udp)
		return PASS_UNREADABLE;
	pkt->source_port = udp->source;
	pkt->to.port = udp->dest;
	pkt->headers += sizeof(*udp);
	return FORWARD;
}

static __always_inline enum outcome parse_transport(struct cursor *cursor, struct packet *pkt)
{
	switch (pkt->to.protocol) {
	case IPPROTO_TCP:
		return parse_tcp(cursor, pkt);
	case IPPROTO_UDP:
		return parse_udp(cursor, pkt);
	default:
		return PASS_NOT_TCP_UDP;
	}
}

#define IPV4_FRAGMENT 0x3fff	/* RFC 791: more-fragments flag and offset */

static __always_inline enum outcome parse_ipv4(struct cursor *cursor, struct packet *pkt)
{
	struct iphdr *ip = take(cursor, sizeof(*ip));
	__u32 size;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return PASS_UNREADABLE;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return PASS_FRAGMENT;
	/* From the header's start, not on from its fixed part: so the verifier sees 0 to 60, not a wrapped difference. */
	size = ip->ihl * 4;
	cursor->at = (void *)ip + size;

	pkt->source.word[2] = bpf_htonl(0xffff);
	pkt->source.word[3] = ip->saddr;
	pkt->to.address.word[2] = bpf_htonl(0xffff);
	pkt->to.address.word[3] = ip->daddr;
	pkt->to.protocol = ip->protocol;
	pkt->length = bpf_ntohs(ip->tot_len);
	pkt->headers = size;
	pkt->tos = ip->tos;
	return parse_transport(cursor, pkt);
}

static __always_inline enum outcome parse_ipv6(struct cursor *cursor, struct packet *pkt)
{
	struct ipv6hdr *ip6 = take(cursor, sizeof(*ip6));
	__u32 length;

	if (!ip6 || ip6->version != 6)
		return PASS_UNREADABLE;
	if (ip6->nexthdr == IPPROTO_FRAGMENT)
		return PASS_FRAGMENT;

	__builtin_memcpy(&pkt->source, &ip6->saddr, sizeof(pkt->source));
	__builtin_memcpy(&pkt->to.address, &ip6->daddr, sizeof(pkt->to.address));
	pkt->to.protocol = ip6->nexthdr;
	/* A length that does not fit 16 bits is longer than any frame: a lie either way. */
	length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	pkt->length = length > 0xffff ? 0xffff : length;
	pkt->headers = sizeof(*ip6);
	pkt->tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
	pkt->to.v6 = 1;
	return parse_transport(cursor, pkt);
}

static __always_inline enum outcome parse(struct xdp_md *ctx, struct packet *pkt)
{
	struct cursor cursor = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct ethhdr *eth = take(&cursor, sizeof(*eth));
	__u32 room = cursor.end - cursor.at;

	if (!eth)
		return PASS_UNREADABLE;
	pkt->room = room > 0xffff ? 0xffff : room;
	pkt->ip_offset = ETH_HLEN;
	/* The struct is packed, but this load need not be byte by byte. */
	switch (*(__be16 *)((void *)eth + offsetof(struct ethhdr, h_proto))) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(&cursor, pkt);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(&cursor, pkt);
	default:
		return PASS_NOT_IP;
	}
}
