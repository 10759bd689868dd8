/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Decides whether a tunnel packet is for this backend and may come in. */
#pragma once

#include "decap_packet.h"

/* Written by `pointsman decap`. A missing entry leaves the tunnel packet to the host. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct decap_vip);
	__type(value, enum decap_vip_ports);
	__uint(max_entries, 4096);
} decap_vips SEC(".maps");

/* The VIPs that are prefixes, whose ports are never mapped. Asked only where decap_vips has nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct decap_prefix);
	__type(value, enum decap_vip_ports);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} decap_vip_prefixes SEC(".maps");

/* Written by `pointsman decap`. A missing entry drops what is for a VIP. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct decap_prefix);
	__type(value, __u8);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} decap_sources SEC(".maps");

#define DECAP_PREFIX_BITS (8 * (sizeof(struct decap_prefix) - offsetof(struct decap_prefix, v6)))

static __always_inline enum decap_outcome find_vip(struct tunnel *tunnel)
{
	struct decap_prefix whole = {
		.prefix_length = DECAP_PREFIX_BITS,
		.v6 = tunnel->vip.v6,
		.address = tunnel->vip.address,
	};
	enum decap_vip_ports *ports = bpf_map_lookup_elem(&decap_vips, &tunnel->vip);

	if (!ports)
		ports = bpf_map_lookup_elem(&decap_vip_prefixes, &whole);
	if (!ports)
		return PASS_NOT_OUR_VIP;
	tunnel->ports = *ports;
	return DECAPSULATE;
}

static __always_inline enum decap_outcome check_source(struct tunnel *tunnel)
{
	tunnel->source.prefix_length = DECAP_PREFIX_BITS;
	if (!bpf_map_lookup_elem(&decap_sources, &tunnel->source))
		return DROP_SOURCE_NOT_ALLOWED;
	return DECAPSULATE;
}

/*
 * The inner length governs: bytes behind it are padding, which the host trims.
 * A longer one would be dropped by the host without our name on it.
 */
static __always_inline enum decap_outcome check_length(const struct tunnel *tunnel)
{
	if (tunnel->inner_length < tunnel->inner_least || tunnel->inner_length > tunnel->room)
		return DROP_INNER_LENGTH;
	return DECAPSULATE;
}
