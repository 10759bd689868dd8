/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Finds VIPs that are a prefix of addresses, a range of ports, any port. */
#pragma once

#include "switches.h"

/*
 * The prefixes that have wide VIPs. Written by the control plane before the
 * first VIP of a prefix. A missing entry: none of a packet's address.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct wide_prefix_key);
	__type(value, struct wide_prefix);
	__uint(max_entries, 1);
} wide_prefixes SEC(".maps");

/* Written by the control plane. A missing entry: a shorter prefix may have the port. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct wide_vip_key);
	__type(value, struct vip);
	__uint(max_entries, 1);
} wide_vips SEC(".maps");

static __always_inline int wide_vips_exist(void)
{
	__u32 first = 0;
	struct switch_words *on = bpf_map_lookup_elem(&switches, &first);

	return on && READ_ONCE(on->wide);
}

/* The longest prefix of an address, of those that are not longer than some bits of the address. */
static __always_inline struct wide_prefix *find_wide_prefix(const struct vip_key *to, __u32 bits)
{
	struct wide_prefix_key key = {
		.bits = WIDE_PREFIX_FIXED + bits,
		.protocol = to->protocol,
		.v6 = to->v6,
		.address = to->address,
	};

	return bpf_map_lookup_elem(&wide_prefixes, &key);
}

/*
 * The most specific VIP: of the longest prefix that has one for the port. Where a
 * prefix has none, the next shorter one is asked, so that nothing need be written
 * twice where prefixes lie in one another; each costs two lookups.
 */
static __noinline struct vip *find_wide_vip(const struct vip_key *to)
{
	struct wide_vip_key key = {
		.bits = WIDE_VIP_FIXED + 17,
		.port = to->port,
		.one_port = WIDE_ONE_PORT,
	};
	__u32 bits = 128;

	for (int i = 0; i <= 128; i++) { /* as many prefixes as an address can have */
		struct wide_prefix *prefix = find_wide_prefix(to, bits);
		struct vip *vip;

		if (!prefix)
			return NULL;
		key.prefix = *prefix;
		vip = bpf_map_lookup_elem(&wide_vips, &key);
		if (vip)
			return vip;
		if (!key.prefix.bits)
			return NULL;
		bits = key.prefix.bits - 1;
	}
	return NULL;
}

/* For packets that have no ports. */
static __always_inline int is_wide_address(const struct vip_key *to)
{
	struct vip_key key = *to;

	key.protocol = IPPROTO_TCP;
	if (find_wide_prefix(&key, 128))
		return 1;
	key.protocol = IPPROTO_UDP;
	return !!find_wide_prefix(&key, 128);
}
