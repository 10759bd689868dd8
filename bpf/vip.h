/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells packets for a VIP from everybody else's. */
#pragma once

#include "packet.h"

/*
 * Written by the control plane, read for every TCP and UDP packet. A missing
 * entry means that the packet is not ours.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip_key);
	__type(value, struct vip);
	__uint(max_entries, 1);
} vips SEC(".maps");

static __always_inline enum outcome find_vip(struct packet *pkt, struct vip **vip)
{
	*vip = bpf_map_lookup_elem(&vips, &pkt->to);
	if (!*vip)
		return PASS_NOT_VIP;
	/* From here on the packet is ours to judge: its length is copied to an outer header. */
	if (pkt->length < pkt->headers || pkt->length > pkt->room)
		return DROP_BAD_LENGTH;
	return FORWARD;
}
