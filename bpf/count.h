/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Counts a packet once: with its backend if it was forwarded, else with its outcome, by the interface it came by. */
#pragma once

#include "drops.h"
#include "packet.h"

/*
 * Packets that came by interfaces without a row of interface_outcomes. Written here,
 * a slot a CPU; read by the control plane. The name of an index is in this program's
 * BTF. FORWARD is not counted here: the control plane adds to it what backends had
 * when they went.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum outcome);
	__type(value, __u64);
	__uint(max_entries, OUTCOMES_MAX);
} outcomes SEC(".maps");

/* Rows are given, and taken back, by the control plane. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct interface_outcomes);
	__uint(max_entries, INTERFACES_MAX);
} interface_outcomes SEC(".maps");

/* Indexed as the backends map; zeroed by the control plane when it gives an index to a backend. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct backend_count);
	__uint(max_entries, 1);
} backend_counters SEC(".maps");

/* Indexed by a service's id; zeroed by the control plane when it gives an id to a service. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct service_drops);
	__uint(max_entries, 1);
} service_drops SEC(".maps");

static __always_inline void count_forwarded(const struct packet *pkt)
{
	struct backend_count *counters = bpf_map_lookup_elem(&backend_counters, &pkt->backend);

	if (!counters)
		return;
	counters->packets++;
	counters->bytes += pkt->length;
	counters->new_flows += pkt->new_flow;
}

/* A packet that goes nowhere is counted with its service, too, if that is known: it has one if it has slots. */
static __noinline int count_drop_of_service(const struct vip *vip, enum outcome outcome)
{
	struct service_drops *drops;
	__u32 service;

	if (!vip || !vip->slot_count || outcome >= OUTCOMES_MAX)
		return 0;
	service = vip->service;
	drops = bpf_map_lookup_elem(&service_drops, &service);
	if (drops)
		drops->packets[outcome]++;
	return 0;
}

static __always_inline __u64 *counter_of(__u32 ifindex, enum outcome outcome)
{
	__u32 at = ifindex % INTERFACES_MAX;
	struct interface_outcomes *row = bpf_map_lookup_elem(&interface_outcomes, &at);

	if (row && row->ifindex == ifindex && outcome < OUTCOMES_MAX)
		return &row->packets[outcome];
	return bpf_map_lookup_elem(&outcomes, &outcome);
}

static __always_inline void count(struct xdp_md *ctx, enum outcome outcome, const struct packet *pkt)
{
	__u64 *counter;

	if (outcome == FORWARD) {
		count_forwarded(pkt);
		return;
	}
	counter = counter_of(ctx->ingress_ifindex, outcome);
	if (counter)
		(*counter)++;
	if (outcome >= FIRST_DROP)
		note_drop(ctx, pkt, outcome);
}
