/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Takes the outer header off. The one thing that XDP and tc do differently. */
#pragma once

#include "decap_packet.h"

/* Linux 6.3; in the kernel's enum bpf_adj_room flags, which older headers do not have. */
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

static __always_inline __be16 inner_ethertype(const struct tunnel *tunnel)
{
	return tunnel->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

/* The addresses stay: the host drops what was not sent to it, as it would have dropped the tunnel packet. */
static __always_inline enum decap_outcome strip_xdp(struct xdp_md *ctx, const struct tunnel *tunnel)
{
	struct ethhdr addresses;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return DROP_CANNOT_STRIP;
	addresses = *eth;
	addresses.h_proto = inner_ethertype(tunnel);

	if (bpf_xdp_adjust_head(ctx, tunnel->outer_size))
		return DROP_CANNOT_STRIP;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return DROP_CANNOT_STRIP;
	*eth = addresses;
	return DECAPSULATE;
}

/*
 * FIXED_GSO: what GRO merged keeps the sender's segment size. NO_CSUM_RESET: an
 * outer IP header carries no transport checksum, so what the driver verified
 * was the inner one. Under GUE it may have been UDP's.
 */
static __always_inline __u64 strip_flags(const struct tunnel *tunnel)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (tunnel->gue ? 0 : BPF_F_ADJ_ROOM_NO_CSUM_RESET);

	if (tunnel->inner_v6 == tunnel->source.v6)
		return flags;
	return flags | (tunnel->inner_v6 ? ADJ_ROOM_DECAP_L3_IPV6 : ADJ_ROOM_DECAP_L3_IPV4);
}

/* The kernel moves the Ethernet header, but does not write the inner packet's type into it. */
static __always_inline enum decap_outcome strip_tc(struct __sk_buff *ctx, const struct tunnel *tunnel)
{
	struct ethhdr *eth;

	if (bpf_skb_adjust_room(ctx, -(__s32)tunnel->outer_size, BPF_ADJ_ROOM_MAC, strip_flags(tunnel)))
		return DROP_CANNOT_STRIP;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return DROP_CANNOT_STRIP;
	eth->h_proto = inner_ethertype(tunnel);
	return DECAPSULATE;
}
