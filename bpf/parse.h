/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads the headers of a plain packet: no tags, no extension headers, no
 * fragment, TCP or UDP. Nearly all packets are plain, so nothing here is done for
 * the others: dissect.h reads those from their beginning.
 */
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

#define LEAST_IMPOSSIBLE 0x10000	/* more than any length */
#define TCP_FLAGS_AT 13

/*
 * The ports, which TCP and UDP have at the same place. Port, protocol and family of
 * the destination go into one store: the lookup of the VIP hashes them as one word,
 * and a load of what several stores have left waits until all of them are through.
 */
static __always_inline void note_ports(struct packet *pkt, const void *transport, __u8 protocol, __u8 v6)
{
	const __be16 *ports = transport;

	pkt->source_port = ports[0];
	*(__u32 *)&pkt->to.port = ports[1] | (__u32)protocol << 16 | (__u32)v6 << 24;
}

/* RFC 9293: no header is shorter than its fixed part, and none longer than its packet. */
static __always_inline void note_tcp(struct packet *pkt, const struct tcphdr *tcp, __u32 ip_headers)
{
	pkt->least = tcp->doff < 5 ? LEAST_IMPOSSIBLE : ip_headers + tcp->doff * 4;
	pkt->tcp_flags = ((const __u8 *)tcp)[TCP_FLAGS_AT];
	pkt->new_flow = (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	pkt->ip_headers = ip_headers;
}

/* RFC 768: a datagram may be shorter than its packet. A length of 0 is a jumbogram's (RFC 2675), which no frame holds. */
static __always_inline void note_udp(struct packet *pkt, const struct udphdr *udp, __u32 ip_headers)
{
	__u32 length = bpf_ntohs(udp->len);

	pkt->least = length < sizeof(*udp) ? LEAST_IMPOSSIBLE : ip_headers + length;
	pkt->tcp_flags = TCP_ACK;
	pkt->ip_headers = ip_headers;
}

static __always_inline int parse_transport(struct cursor *cursor, struct packet *pkt, __u32 ip_headers,
					   __u8 protocol, __u8 v6)
{
	void *header;

	switch (protocol) {
	case IPPROTO_TCP:
		if ((header = take(cursor, sizeof(struct tcphdr))))
			note_tcp(pkt, header, ip_headers);
		break;
	case IPPROTO_UDP:
		if ((header = take(cursor, sizeof(struct udphdr))))
			note_udp(pkt, header, ip_headers);
		break;
	default:
		header = NULL;
	}
	if (!header)
		return 0;
	note_ports(pkt, header, protocol, v6);
	return 1;
}

#define IPV4_FRAGMENT 0x3fff	/* RFC 791: more-fragments flag and offset */

static __always_inline int parse_ipv4(struct cursor *cursor, struct packet *pkt)
{
	struct iphdr *ip = take(cursor, sizeof(*ip));
	__u32 size;

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return 0;
	/* From the header's start, not on from its fixed part: so the verifier sees 0 to 60, not a wrapped difference. */
	size = ip->ihl * 4;
	cursor->at = (void *)ip + size;

	pkt->source.word[2] = bpf_htonl(0xffff);
	pkt->source.word[3] = ip->saddr;
	pkt->to.address.word[2] = bpf_htonl(0xffff);
	pkt->to.address.word[3] = ip->daddr;
	pkt->length = bpf_ntohs(ip->tot_len);
	pkt->tos = ip->tos;
	return parse_transport(cursor, pkt, size, ip->protocol, 0);
}

/* A length that does not fit 16 bits is longer than any frame: a lie either way. */
static __always_inline __u16 ip_length(__u32 length)
{
	return length > 0xffff ? 0xffff : length;
}

static __always_inline int parse_ipv6(struct cursor *cursor, struct packet *pkt)
{
	struct ipv6hdr *ip6 = take(cursor, sizeof(*ip6));

	if (!ip6 || ip6->version != 6)
		return 0;
	__builtin_memcpy(&pkt->source, &ip6->saddr, sizeof(pkt->source));
	__builtin_memcpy(&pkt->to.address, &ip6->daddr, sizeof(pkt->to.address));
	pkt->length = ip_length(sizeof(*ip6) + bpf_ntohs(ip6->payload_len));
	pkt->tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
	return parse_transport(cursor, pkt, sizeof(*ip6), ip6->nexthdr, 1);
}

/* The struct is packed, but this load need not be byte by byte. */
static __always_inline __be16 ethernet_type(const struct ethhdr *eth)
{
	return *(const __be16 *)((const void *)eth + offsetof(struct ethhdr, h_proto));
}

/* In 64 bits, since it is a difference of pointers. */
static __always_inline __u16 room_of(__u64 bytes)
{
	return bytes > 0xffff ? 0xffff : bytes;
}

/* Zero if the packet is not plain; then what pkt says is half read. */
static __always_inline int parse_plain(struct xdp_md *ctx, struct packet *pkt)
{
	struct cursor cursor = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct ethhdr *eth = take(&cursor, sizeof(*eth));

	if (!eth)
		return 0;
	pkt->ip_offset = sizeof(*eth);
	pkt->room = room_of(cursor.end - cursor.at);
	switch (ethernet_type(eth)) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(&cursor, pkt);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(&cursor, pkt);
	default:
		return 0;
	}
}
