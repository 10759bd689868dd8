/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Picks the backend of a packet: flow hash, slot, owner. */
#pragma once

#include "hash.h"

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

/*
 * Written by the control plane before any slot names the index, and cleared
 * after the last one has stopped to. Mapped only so that entries start on a
 * page and each fills one cache line. An empty entry has ifindex 0.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(max_entries, 1);
} backends SEC(".maps");

/* slot = hash · M >> 32 (Lemire, "Fast random integer generation in an interval", 2019): no division. */
static __always_inline enum outcome pick_backend(struct packet *pkt, const struct vip *vip,
						 struct backend **backend)
{
	__u64 hash = flow_hash(pkt);
	__u32 slot = vip->first_slot + ((hash >> 32) * vip->slot_count >> 32);
	__u32 line_index = slot / SLOTS_PER_LINE;
	struct slot_line *line = bpf_map_lookup_elem(&slots, &line_index);

	pkt->entropy = hash;
	if (!line)
		return DROP_NO_BACKEND;
	pkt->backend = READ_ONCE(line->owner[slot % SLOTS_PER_LINE]);
	*backend = bpf_map_lookup_elem(&backends, &pkt->backend);
	if (!*backend || !(*backend)->ifindex)
		return DROP_NO_BACKEND;
	return FORWARD;
}
