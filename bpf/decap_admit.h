/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Decides whether a tunnel packet is for this backend and may come in. */
#pragma once

#include "decap_packet.h"

/* Written by `pointsman decap`. A missing entry leaves the tunnel packet to the host. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct decap_vip);
	__type(value, __u8);
	__uint(max_entries, 4096);
} decap_vips SEC(".maps");

/* Written by `pointsman decap`. A missing entry drops what is for a VIP. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct decap_source);
	__type(value, __u8);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} decap_sources SEC(".maps");

static __always_inline enum decap_outcome find_vip(const struct tunnel *tunnel)
{
	if (!bpf_map_lookup_elem(&decap_vips, &tunnel->vip))
		return PASS_NOT_OUR_VIP;
	return DECAPSULATE;
}

static __always_inline enum decap_outcome check_source(struct tunnel *tunnel)
{
	tunnel->source.prefix_length = 8 * (sizeof(tunnel->source) - offsetof(struct decap_source, v6));
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
