/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Maps a VIP's port to an instance's on the way in, and back on the way out. No
 * flow is remembered: the address stays the VIP's, so the port of an answer
 * tells which it is an answer of.
 */
#pragma once

#include "decap_admit.h"
#include "decap_read.h"

/* Written by `pointsman decap`, after decap_ports_out. A missing entry leaves the port, unless the tunnel names one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct decap_port);
	__type(value, __be16);
	__uint(max_entries, 4096);
} decap_ports_in SEC(".maps");

/* Written by `pointsman decap`. A missing entry leaves the port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct decap_port);
	__type(value, __be16);
	__uint(max_entries, 4096);
} decap_ports_out SEC(".maps");

/* The sum in a quote is mended by hand, because it is not the packet's own; then the error's sum over both words. */
static __always_inline int map_quoted(void *ctx, enum hook hook, const struct spot *spot, __be16 to)
{
	__sum16 before, after;

	if (mend_at(ctx, hook, spot->icmp_sum, IPPROTO_ICMP, spot->key.port, to))
		return -1;
	if (!spot->sum)
		return 0;
	if (read_at(ctx, hook, spot->sum, &before, sizeof(before)))
		return -1;
	after = before;
	mend_transport(&after, spot->key.protocol, spot->key.port, to);
	if (write_at(ctx, hook, spot->sum, after))
		return -1;
	return mend_at(ctx, hook, spot->icmp_sum, IPPROTO_ICMP, before, after);
}

static __always_inline int write_port(void *ctx, enum hook hook, const struct spot *spot, __be16 to)
{
	int failed;

	if (spot->icmp_sum)
		failed = map_quoted(ctx, hook, spot, to);
	else
		failed = mend_at(ctx, hook, spot->sum, spot->key.protocol, spot->key.port, to);
	return failed || write_at(ctx, hook, spot->port, to);
}

static __always_inline enum decap_outcome map_in(void *ctx, enum hook hook, const struct tunnel *tunnel)
{
	__u32 at = sizeof(struct ethhdr) + tunnel->outer_size;
	struct spot spot = {};
	struct ip ip = {};
	__be16 *to;

	if (tunnel->ports != PORTS_MAPPED && !tunnel->named)
		return DECAPSULATE;
	if (read_ip(ctx, hook, at, tunnel->inner_v6, &ip))
		return DROP_INNER_UNREADABLE;
	switch (find_port(ctx, hook, &ip, tunnel->inner_v6, INWARDS, &spot)) {
	case UNREADABLE:
		return DROP_INNER_UNREADABLE;
	case NO_PORT:
		return DECAPSULATE;
	case FOUND:
		break;
	}
	spot.key.named = tunnel->named;
	to = bpf_map_lookup_elem(&decap_ports_in, &spot.key);
	if (!to)
		return tunnel->named ? DROP_NOT_MAPPED : DECAPSULATE;
	return write_port(ctx, hook, &spot, *to) ? DROP_CANNOT_MAP : DECAPSULATE;
}

/* Where the IP header begins: behind what tags the kernel has put into the frame itself. Zero if it is none. */
static __always_inline __u32 find_ip(struct __sk_buff *ctx, int *v6)
{
	__u32 at = offsetof(struct ethhdr, h_proto);
	__be16 type;

#pragma unroll
	for (int tags = 0; tags <= 2; tags++) {
		if (bpf_skb_load_bytes(ctx, at, &type, sizeof(type)))
			return 0;
		*v6 = type == bpf_htons(ETH_P_IPV6);
		if (*v6 || type == bpf_htons(ETH_P_IP))
			return at + sizeof(type);
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			return 0;
		at += 4;
	}
	return 0;
}

/* Whether a packet is an answer in a VIP's name; most of what leaves a host is not, and is let go here. */
static __always_inline int is_from_mapped_vip(const struct ip *ip, int v6)
{
	struct decap_vip vip = { .address = ip->source, .v6 = v6 };
	enum decap_vip_ports *ports = bpf_map_lookup_elem(&decap_vips, &vip);

	return ports && *ports == PORTS_MAPPED;
}

/* PASS_NOT_OUR_VIP for all that stays as it is. */
static __always_inline enum decap_outcome map_out(struct __sk_buff *ctx)
{
	struct spot spot = {};
	struct ip ip = {};
	__be16 *to;
	int v6 = 0;
	__u32 at = find_ip(ctx, &v6);

	if (!at || read_ip(ctx, TC, at, v6, &ip) || !is_from_mapped_vip(&ip, v6))
		return PASS_NOT_OUR_VIP;
	if (find_port(ctx, TC, &ip, v6, OUTWARDS, &spot) != FOUND)
		return PASS_NOT_OUR_VIP;
	to = bpf_map_lookup_elem(&decap_ports_out, &spot.key);
	if (!to)
		return PASS_NOT_OUR_VIP;
	return write_port(ctx, TC, &spot, *to) ? DROP_CANNOT_MAP : PASS_MAPPED_BACK;
}
