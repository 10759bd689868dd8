/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Finds VIPs that have one address and one port. All of them are in a hash; but the
 * kernel takes a call for a lookup there, hashes twenty bytes with jhash and follows a
 * list, which is the greatest single cost of a packet. So each VIP has a place in an
 * array too, which is read inline and by the flows' own hash, and nearly always says
 * which VIP it is, or that it is none.
 */
#pragma once

#include "hash.h"

/*
 * All VIPs of one address and one port, written by the control plane before their
 * places. Read here only where a place says so. A missing entry: the packet is not ours.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip_key);
	__type(value, struct vip);
	__uint(max_entries, 1);
} vips SEC(".maps");

/*
 * Which of vip_entries is about VIPs of a hash. Follows from vips; written by the
 * control plane through mapped memory, a place with one store. See enum vip_place.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct vip_line);
	__uint(max_entries, 1);
} vip_places SEC(".maps");

/*
 * A VIP each, likewise. No place leads to one that is being written; who was led there
 * before finds another key, or none. The first is nobody's.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct vip_entry);
	__uint(max_entries, 1);
} vip_entries SEC(".maps");

/* Port, protocol and family at once, as they were stored. */
static __always_inline __u32 port_word(const struct vip_key *key)
{
	return *(const __u32 *)&key->port;
}

static __always_inline __u32 find_place(const struct vip_key *to)
{
	__u64 sum = nh(to->address.word[3], port_word(to), 0);

	if (to->v6)
		sum += nh(to->address.word[0], to->address.word[1], 4) + nh(to->address.word[2], 0, 6);
	/* Half of fmix64 is enough: nothing but time depends on it. */
	return (sum ^ sum >> 32) * 0xff51afd7ed558ccdULL >> 32 & config.vip_mask;
}

static __always_inline struct vip *find_exact_vip(const struct vip_key *to)
{
	__u32 place = find_place(to), line = place / VIP_PLACES_PER_LINE, index;
	struct vip_line *places = bpf_map_lookup_elem(&vip_places, &line);
	struct vip_entry *entry;

	if (!places)
		return NULL;
	index = READ_ONCE(places->entry[place % VIP_PLACES_PER_LINE]);
	if (index == VIP_NONE)
		return NULL;
	if (index == VIP_ASK)
		return bpf_map_lookup_elem(&vips, to);
	entry = bpf_map_lookup_elem(&vip_entries, &index);
	if (!entry || !same_address(&entry->key.address, &to->address) || port_word(&entry->key) != port_word(to))
		return NULL;
	return &entry->vip;
}
