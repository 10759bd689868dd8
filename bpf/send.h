/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sends a packet out of an interface: its backend's, or the one that its client is behind. */
#pragma once

#include "packet.h"

/*
 * The interfaces that packets may be redirected to, by ifindex. Written by the
 * control plane before any backend names the interface, or any client of nat
 * comes in by it. A missing entry makes the packet DROP_NO_EGRESS.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 256);
} egress SEC(".maps");

static __always_inline enum outcome send(struct xdp_md *ctx, struct packet *pkt, __u32 ifindex)
{
	if (ifindex == ctx->ingress_ifindex) {
		pkt->forward_verdict = XDP_TX;
		return FORWARD;
	}
	/* What the flags say is what comes back where the map has no such interface. */
	pkt->forward_verdict = bpf_redirect_map(&egress, ifindex, XDP_DROP);
	return pkt->forward_verdict == XDP_REDIRECT ? FORWARD : DROP_NO_EGRESS;
}
