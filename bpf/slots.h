/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Picks the backend of a packet: flow hash, slot, owner; and the phase of the slot where something moves. */
#pragma once

#include "phases.h"
#include "quic.h"

/*
 * The owners of all slots; a service owns a consecutive part. Written by the
 * control plane through mapped memory, an owner at a time; a zero owner means
 * that no backend can take the slot.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot_line);
	__uint(max_entries, 1);
} slots SEC(".maps");

/* slot = hash · M >> 32 (Lemire, "Fast random integer generation in an interval", 2019): no division. */
static __always_inline __u32 find_slot(const struct vip *vip, __u64 hash)
{
	return vip->first_slot + ((hash >> 32) * vip->slot_count >> 32);
}

static __always_inline __u32 find_owner(__u32 slot)
{
	__u32 index = slot / SLOTS_PER_LINE;
	struct slot_line *line = bpf_map_lookup_elem(&slots, &index);

	return line ? READ_ONCE(line->owner[slot % SLOTS_PER_LINE]) : 0;
}

static __always_inline __u64 hash_of(const struct packet *pkt, const struct vip *vip, __u64 sum)
{
	return slot_hash(vip->flags & VIP_AFFINITY_CLIENT ? client_sum(pkt) : sum);
}

static __always_inline __u32 slot_of(const struct packet *pkt, const struct vip *vip, __u64 sum)
{
	return find_slot(vip, hash_of(pkt, vip, sum));
}

#define VIP_OTHERWISE (VIP_UNSETTLED | VIP_TRACK_ALWAYS | VIP_AFFINITY_QUIC)

/* Whom else than the slot's owner the packet may go to. */
static __always_inline __u32 pick_otherwise(struct xdp_md *ctx, const struct packet *pkt, const struct vip *vip,
					    __u32 slot, __u64 sum)
{
	struct seeker seeker = {
		.owner = pkt->backend,
		.idle_seconds = vip->idle_seconds,
		.new_flow = pkt->new_flow,
		.track_always = !!(vip->flags & VIP_TRACK_ALWAYS),
		.looking = pkt->looking,
	};
	__u32 named = 0;

	if (vip->flags & VIP_AFFINITY_QUIC && !pkt->looking) /* what an ICMP error quotes has the client's ID */
		named = find_quic_backend(ctx, pkt, vip);
	if (named || !(vip->flags & (VIP_UNSETTLED | VIP_TRACK_ALWAYS)))
		return named ? named : pkt->backend;
	seeker.hash = flow_hash(sum);
	return choose(&seeker, slot, pkt->to.protocol);
}

static __always_inline enum outcome pick_backend(struct xdp_md *ctx, struct packet *pkt, const struct vip *vip,
						 struct backend **backend)
{
	__u64 sum = flow_sum(pkt);
	__u64 hash = hash_of(pkt, vip, sum);
	__u32 slot = find_slot(vip, hash);

	pkt->entropy = hash;
	pkt->backend = find_owner(slot);
	if (vip->flags & VIP_OTHERWISE)
		pkt->backend = pick_otherwise(ctx, pkt, vip, slot, sum);
	*backend = bpf_map_lookup_elem(&backends, &pkt->backend);
	if (!*backend || !(*backend)->ifindex)
		return DROP_NO_BACKEND;
	return FORWARD;
}
