/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Between families the IP headers are replaced, with all that they say beside. What
 * of that may be left out, and what must not cross, is in RFC 7915, sections 4.1, 4.5
 * and 5.1.
 */
#pragma once

#include "passage.h"

#define OPTION_END 0		/* RFC 791, section 3.1 */
#define OPTION_NONE 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137
#define OPTION_ROUTE_LEAST 3	/* type, length, and a pointer to what is next */
#define ON_ITS_WAY 0x100	/* longer than any option */
#define OPTIONS_MAX 40

/* Of which the last two bytes are a routing header's (RFC 8200, section 4.4). */
struct extension {
	__u8 next;
	__u8 size;
	__u8 routing_type;
	__u8 segments_left;
};

/* What is in the way of a header's replacement. */
enum obstacle {
	NO_OBSTACLE,
	SEALED,		/* AH (RFC 4302), which proves that nothing has changed, and is void then */
	ROUTED,		/* this and more: how far behind the IP header's beginning there is a route of the sender's own */
};

/* Bytes of the IPv4 option at an offset; 0 where nothing can be behind it, ON_ITS_WAY if it is a route whose end is not reached. */
__noinline __u32 option_size(struct xdp_md *ctx, __u32 offset)
{
	__u8 *option = header_at(ctx, offset, OPTION_ROUTE_LEAST);

	if (!option || option[0] == OPTION_END)
		return 0;
	if (option[0] == OPTION_NONE)
		return 1;
	if ((option[0] == OPTION_LOOSE_ROUTE || option[0] == OPTION_STRICT_ROUTE) && option[2] <= option[1])
		return ON_ITS_WAY;
	return option[1];
}

/* A route needs three bytes to be one, so the last two that options have are not looked at. */
static __always_inline __u32 find_route_ipv4(struct xdp_md *ctx, __u32 begin, __u32 size)
{
	__u32 at = sizeof(struct iphdr);

	for (int i = 0; i < OPTIONS_MAX && at + OPTION_ROUTE_LEAST <= size; i++) {
		__u32 length = option_size(ctx, begin + at);

		if (length == ON_ITS_WAY)
			return at;
		if (!length)
			break;
		at += length;
	}
	return NO_OBSTACLE;
}

static __always_inline __u32 find_obstacle_ipv6(struct xdp_md *ctx, __u32 begin, __u32 size)
{
	struct ipv6hdr *ip6 = header_at(ctx, begin, sizeof(*ip6));
	__u32 at = sizeof(*ip6);
	__u8 protocol;

	if (!ip6)
		return NO_OBSTACLE;
	protocol = ip6->nexthdr;
#pragma unroll
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		struct extension *header = header_at(ctx, begin + at, sizeof(*header));

		if (!header || at >= size)
			break;
		if (protocol == IPPROTO_AH)
			return SEALED;
		if (protocol == IPPROTO_ROUTING && header->segments_left)
			return at + offsetof(struct extension, segments_left);
		at += extension_size(protocol, header->size);
		protocol = header->next;
	}
	return NO_OBSTACLE;
}

/* Not inlined: nearly no packet has options or extension headers. */
__noinline __u32 look_for_obstacle(struct xdp_md *ctx, struct packet *pkt, __u32 size)
{
	if (!pkt)
		return NO_OBSTACLE;
	return pkt->to.v6 ? find_obstacle_ipv6(ctx, pkt->ip_offset, size) : find_route_ipv4(ctx, pkt->ip_offset, size);
}

/* In IP headers that are so many bytes. */
static __always_inline __u32 find_obstacle(struct xdp_md *ctx, struct packet *pkt, __u32 size)
{
	if (size == (pkt->to.v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)))
		return NO_OBSTACLE;
	return look_for_obstacle(ctx, pkt, size);
}

/* A route ends where its family does. Its sender is told, as RFC 7915 would have it. */
static __always_inline enum outcome refuse_route(struct xdp_md *ctx, const struct packet *pkt, __u32 at)
{
	struct refused refused = {
		.source = pkt->source,
		.vip = pkt->to.address,
		.rest = pkt->to.v6 ? at : 0,
		.length = pkt->length,
		.type = pkt->to.v6 ? ICMPV6_PARAMETER_PROBLEM : ICMP_UNREACHABLE,
		.code = pkt->to.v6 ? ICMPV6_ERRONEOUS_FIELD : ICMP_SOURCE_ROUTE_FAILED,
		.ip_offset = pkt->ip_offset,
		.v6 = pkt->to.v6,
		.told = REPLY_SOURCE_ROUTE,
		.untold = DROP_NAT_FAMILY,
	};

	if (pkt->unanswerable)
		return DROP_NAT_FAMILY;
	return refuse(ctx, &refused);
}

/* Whether what the IP headers say beside can be left out, and if not the outcome. */
static __always_inline enum outcome leave_out(struct xdp_md *ctx, struct packet *pkt)
{
	__u32 obstacle = find_obstacle(ctx, pkt, pkt->ip_headers);

	if (obstacle == NO_OBSTACLE)
		return FORWARD;
	return obstacle == SEALED ? DROP_NAT_FAMILY : refuse_route(ctx, pkt, obstacle);
}

/* Of what is of the other family then: offsets count all that follows the fragment header, and there no other headers may be. */
static __always_inline int has_counterpart(struct xdp_md *ctx, const struct packet *pkt, const struct passage *passage)
{
	__sum16 *checksum;

	if (pkt->to.v6 == passage->v6)
		return 1;
	if (pkt->to.protocol != IPPROTO_TCP && pkt->to.protocol != IPPROTO_UDP)
		return 0;
	if (pkt->to.v6)
		return pkt->fragment_at + sizeof(struct fragment_header) == pkt->ip_headers;
	if (pkt->fragment == LATER_FRAGMENT || pkt->to.protocol == IPPROTO_TCP)
		return 1;
	/* RFC 7915, section 4.5: IPv6 wants a checksum, and nobody sees the whole datagram. */
	checksum = header_at(ctx, pkt->ip_offset + pkt->ip_headers + checksum_at(1), sizeof(*checksum));
	return checksum && *checksum;
}
