/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells packets for a VIP from everybody else's. */
#pragma once

#include "exact.h"
#include "wide.h"

/*
 * The addresses of all VIPs, for packets that have no ports to find a VIP by.
 * Written by the control plane before the first VIP of an address, and deleted
 * after the last. The value has no meaning yet.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip_address);
	__type(value, __u32);
	__uint(max_entries, 1);
} vip_addresses SEC(".maps");

/*
 * Copies what is found: to the verifier, the values of three maps would be three ways,
 * and all that follows would be looked at for each. PASS_NOT_VIP too where the packet
 * may be a nat backend's, which it notes.
 */
static __always_inline enum outcome find_vip(struct packet *pkt, struct vip *vip)
{
	const struct vip *found = find_exact_vip(&pkt->to);
	struct switch_words *on;
	__u32 first = 0;

	if (!found) {
		on = bpf_map_lookup_elem(&switches, &first);
		if (!on)
			return PASS_NOT_VIP;
		if (READ_ONCE(on->wide))
			found = find_wide_vip(&pkt->to);
		if (!found) {
			if (READ_ONCE(on->nat))
				pkt->nat = NAT_REPLY;
			return PASS_NOT_VIP;
		}
	}
	*vip = *found;
	return FORWARD;
}

static __always_inline int nat_is_on(void)
{
	__u32 first = 0;
	struct switch_words *on = bpf_map_lookup_elem(&switches, &first);

	return on && READ_ONCE(on->nat);
}

static __noinline int is_vip_address(const struct packet *pkt)
{
	struct vip_address key = { .address = pkt->to.address, .v6 = pkt->to.v6 };

	if (bpf_map_lookup_elem(&vip_addresses, &key))
		return 1;
	return wide_vips_exist() && is_wide_address(&pkt->to);
}
