/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads the headers of any packet, from the first byte on: tags, IPv6 extension
 * headers, fragments, and what is cut short. Told apart here is what concerns a
 * VIP by its address alone.
 */
#pragma once

#include "headers.h"
#include "parse.h"
#include "vip.h"

#define TAGS_MAX 2

/* IEEE 802.1Q. linux/if_vlan.h has none for user space. */
struct tag {
	__be16 control;
	__be16 type;	/* of what follows */
};

/* The type of what is behind the tags, and where it begins. Three tags are not IP. */
static __always_inline enum outcome dissect_link(struct xdp_md *ctx, struct packet *pkt, __be16 *type)
{
	struct ethhdr *eth = header_at(ctx, 0, sizeof(*eth));
	__u32 offset = sizeof(*eth);

	if (!eth)
		return PASS_UNREADABLE;
	*type = ethernet_type(eth);
	for (int i = 0; i < TAGS_MAX; i++) {
		struct tag *tag;

		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			break;
		tag = header_at(ctx, offset, sizeof(*tag));
		if (!tag)
			return PASS_UNREADABLE;
		*type = tag->type;
		offset += sizeof(*tag);
	}
	pkt->ip_offset = offset;
	pkt->room = room_of((void *)(long)ctx->data_end - (void *)(long)ctx->data - offset);
	return FORWARD;
}

/* Its destination could be read, and its ports, or what stands for them, could not. */
static __always_inline enum outcome unreadable(const struct packet *pkt)
{
	return is_vip_address(pkt) ? DROP_UNREADABLE : PASS_UNREADABLE;
}

/* A datagram's length is that of all its fragments. */
static __always_inline enum outcome dissect_transport(struct xdp_md *ctx, struct packet *pkt,
						      const struct headers *ip)
{
	__u32 ip_headers = ip->transport - pkt->ip_offset;
	void *header;

	if (pkt->to.protocol == IPPROTO_TCP) {
		header = header_at(ctx, ip->transport, sizeof(struct tcphdr));
		if (header)
			note_tcp(pkt, header, ip_headers);
	} else {
		header = header_at(ctx, ip->transport, sizeof(struct udphdr));
		if (header)
			note_udp(pkt, header, ip_headers);
		if (ip->fragment == FIRST_FRAGMENT)
			pkt->least = ip_headers + sizeof(struct udphdr);
	}
	if (!header)
		return unreadable(pkt);
	note_ports(pkt, header, pkt->to.protocol, pkt->to.v6);
	return FORWARD;
}

static __always_inline int is_icmp(const struct packet *pkt)
{
	return pkt->to.protocol == (pkt->to.v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/*
 * What can be for a VIP. Of a later IPv6 fragment the header may name an
 * extension header, behind which the first has the rest of the chain.
 */
static __always_inline int is_balanced(const struct packet *pkt, const struct headers *ip)
{
	if (pkt->to.protocol == IPPROTO_TCP || pkt->to.protocol == IPPROTO_UDP || is_icmp(pkt))
		return 1;
	return pkt->to.v6 && ip->fragment == LATER_FRAGMENT && extension_size(pkt->to.protocol, 0);
}

/* As far as the IP headers go. */
static __always_inline enum outcome dissect(struct xdp_md *ctx, struct packet *pkt, struct headers *ip)
{
	enum outcome result;
	int reading;
	__be16 type;

	if ((result = dissect_link(ctx, pkt, &type)))
		return result;
	pkt->to.v6 = type == bpf_htons(ETH_P_IPV6);
	if (pkt->to.v6)
		reading = read_ipv6(ctx, pkt->ip_offset, OFFSET_MAX, ip);
	else if (type == bpf_htons(ETH_P_IP))
		reading = read_ipv4(ctx, pkt->ip_offset, OFFSET_MAX, ip);
	else
		return PASS_NOT_IP;
	if (reading == SENSELESS)
		return PASS_UNREADABLE;

	pkt->source = ip->source;
	pkt->to.address = ip->destination;
	pkt->to.protocol = ip->protocol;
	pkt->length = ip_length(ip->length);
	pkt->tos = ip->tos;
	if (reading == CUT_SHORT)
		return unreadable(pkt);
	return is_balanced(pkt, ip) ? FORWARD : PASS_NOT_TCP_UDP;
}
