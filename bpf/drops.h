/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells of packets that are dropped or held, while somebody wants to know. Only those pay for that. */
#pragma once

#include "packet.h"
#include "switches.h"

#define DROPS_PER_SECOND 100	/* that each CPU tells of, at most */
#define DROPS_BYTES (256 * 1024)

/* Read by the daemon while somebody listens to it. Each program's own, and not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DROPS_BYTES);
} drops SEC(".maps");

/* How much was told. Written here, a slot a CPU; the daemon reads how much was not. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct drop_budget);
	__uint(max_entries, 1);
} drop_budget SEC(".maps");

static __always_inline int may_tell(struct drop_budget *budget, __u32 second)
{
	if (budget->second != second) {
		budget->second = second;
		budget->told = 0;
	}
	return budget->told++ < DROPS_PER_SECOND;
}

/*
 * The tags of arrival, unless the frame is no longer as it came. Not inlined, so
 * that the type is among those that the object keeps for Go.
 */
static __noinline int note_tags(struct xdp_md *ctx, const struct packet *pkt, struct drop *drop)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be16 *tag = frame + ETH_HLEN;

	if (end - frame != drop->length || pkt->ip_offset < ETH_HLEN + 4 || frame + ETH_HLEN + 8 > end)
		return 0;
	drop->vlan[0] = bpf_ntohs(tag[0]);
	if (pkt->ip_offset > ETH_HLEN + 4)
		drop->vlan[1] = bpf_ntohs(tag[2]);
	return 0;
}

static __noinline int tell_of_drop(struct xdp_md *ctx, const struct packet *pkt, enum outcome outcome, __u32 until)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 only = 0;
	struct drop_budget *budget = bpf_map_lookup_elem(&drop_budget, &only);
	struct drop *drop;

	/* A daemon that died has left this on. */
	if (!budget || now / NS_PER_SECOND >= until)
		return 0;
	drop = may_tell(budget, now / NS_PER_SECOND) ? bpf_ringbuf_reserve(&drops, sizeof(*drop), 0) : NULL;
	if (!drop) {
		budget->untold++;
		return 0;
	}
	*drop = (struct drop){
		.ns = now,
		.source = pkt->source,
		.destination = pkt->to.address,
		.source_port = pkt->source_port,
		.destination_port = pkt->to.port,
		.protocol = pkt->to.protocol,
		.ifindex = ctx->ingress_ifindex,
		.length = pkt->ip_offset + pkt->room,
		.outcome = outcome,
	};
	note_tags(ctx, pkt, drop);
	bpf_ringbuf_submit(drop, 0);
	return 0;
}

static __always_inline void note_drop(struct xdp_md *ctx, const struct packet *pkt, enum outcome outcome)
{
	__u32 only = 0;
	struct switch_words *words = bpf_map_lookup_elem(&switches, &only);

	if (words && words->watch_drops)
		tell_of_drop(ctx, pkt, outcome, words->watch_drops);
}
