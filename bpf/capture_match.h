/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells the packets that a capture wants by their ends, from the frame alone: a capture sees packets before the program has read them. */
#pragma once

#include <stdbool.h>

#include "packet.h"

struct ends {
	struct address source;
	struct address destination;
	__be16 ports[2];
	__u8 protocol;
	__u8 has_ports;
};

/* What stands at the reader, which moves behind it; NULL if the frame ends before that. */
static __always_inline void *read_next(struct xdp_md *ctx, __u32 *at, __u32 size)
{
	void *header = (void *)(long)ctx->data + *at;

	if (header + size > (void *)(long)ctx->data_end)
		return NULL;
	*at += size;
	return header;
}

static __always_inline void read_ports(struct xdp_md *ctx, __u32 at, struct ends *ends)
{
	__be16 *ports;

	if (ends->protocol != IPPROTO_TCP && ends->protocol != IPPROTO_UDP)
		return;
	ports = read_next(ctx, &at, sizeof(ends->ports));
	if (!ports)
		return;
	ends->ports[0] = ports[0];
	ends->ports[1] = ports[1];
	ends->has_ports = 1;
}

#define IPV4_LATER_FRAGMENT 0x1fff	/* RFC 791: one with an offset has no ports */

static __always_inline bool read_ipv4_ends(struct xdp_md *ctx, __u32 at, struct ends *ends)
{
	__u32 begin = at;
	struct iphdr *ip = read_next(ctx, &at, sizeof(*ip));

	if (!ip)
		return false;
	ends->source.word[2] = ends->destination.word[2] = bpf_htonl(0xffff);
	ends->source.word[3] = ip->saddr;
	ends->destination.word[3] = ip->daddr;
	ends->protocol = ip->protocol;
	if (!(ip->frag_off & bpf_htons(IPV4_LATER_FRAGMENT)))
		read_ports(ctx, begin + ip->ihl * 4, ends);
	return true;
}

/* Behind extension headers no ports are looked for. */
static __always_inline bool read_ipv6_ends(struct xdp_md *ctx, __u32 at, struct ends *ends)
{
	struct ipv6hdr *ip = read_next(ctx, &at, sizeof(*ip));

	if (!ip)
		return false;
	__builtin_memcpy(&ends->source, &ip->saddr, sizeof(ends->source));
	__builtin_memcpy(&ends->destination, &ip->daddr, sizeof(ends->destination));
	ends->protocol = ip->nexthdr;
	read_ports(ctx, at, ends);
	return true;
}

#define CAPTURE_TAGS_MAX 2

static __always_inline bool read_ends(struct xdp_md *ctx, struct ends *ends)
{
	__u32 at = offsetof(struct ethhdr, h_proto);
	__be16 *type;

	for (int tags = 0; tags <= CAPTURE_TAGS_MAX; tags++) {
		type = read_next(ctx, &at, sizeof(*type));
		if (!type)
			return false;
		if (*type == bpf_htons(ETH_P_IP))
			return read_ipv4_ends(ctx, at, ends);
		if (*type == bpf_htons(ETH_P_IPV6))
			return read_ipv6_ends(ctx, at, ends);
		if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
			return false;
		at += sizeof(__be16);	/* the tag itself */
	}
	return false;
}

static __always_inline bool is_among(const struct address *address, const volatile struct address_range *wanted)
{
	for (int i = 0; i < 4; i++)
		if ((address->word[i] & wanted->mask.word[i]) != wanted->address.word[i])
			return false;
	return true;
}

static __always_inline bool wants_all(const volatile struct address_range *wanted)
{
	return !(wanted->mask.word[0] | wanted->mask.word[1] | wanted->mask.word[2] | wanted->mask.word[3]);
}

static __always_inline bool is_wanted(struct xdp_md *ctx, const volatile struct capture_wish *wish)
{
	struct ends ends = {};

	if (wish->ifindex && wish->ifindex != ctx->ingress_ifindex)
		return false;
	if (wants_all(&wish->vip) && wants_all(&wish->client))
		return true;
	if (!read_ends(ctx, &ends) || !is_among(&ends.destination, &wish->vip) || !is_among(&ends.source, &wish->client))
		return false;
	if (!wish->vip_port || !ends.has_ports)
		return true;
	return ends.ports[1] == wish->vip_port && (!wish->vip_protocol || wish->vip_protocol == ends.protocol);
}
