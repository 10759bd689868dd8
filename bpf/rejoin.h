/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sends all fragments of a packet the way of the first, which alone has ports.
 * One that comes before its first is held or dropped, never sent by a guess: at
 * the wrong backend a fragment of TCP may reset a connection.
 */
#pragma once

#include "dissect.h"
#include "judge.h"
#include "phases.h"

/* RFC 8200, section 4.5, gives the fragments of a packet 60 seconds; nobody who sends them all takes a fraction of that. As dataplane.FragmentSeconds. */
#define FRAGMENT_SECONDS 10

/*
 * Where the fragments of a packet go. Written and read here, and read by whoever
 * holds fragments. A missing entry means that the first has not come.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct fragment_key);
	__type(value, struct fragment_way);
	__uint(max_entries, 65536);
} fragments SEC(".maps");

/*
 * To whoever holds fragments. A buffer is there only as long as its reader lives,
 * so that a daemon which dies holds nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} held_fragments SEC(".maps");

/*
 * What RFC 791, section 3.2, and RFC 8200, section 4.5, say that fragments have in
 * common. IPv6's may name different next headers.
 */
static __always_inline struct fragment_key fragment_key(const struct packet *pkt, const struct headers *ip)
{
	return (struct fragment_key){
		.source = pkt->source,
		.destination = pkt->to.address,
		.id = ip->fragment_id,
		.protocol = pkt->to.v6 ? 0 : pkt->to.protocol,
		.v6 = pkt->to.v6,
	};
}

/*
 * Remembers where a first fragment went. What the host gets of a VIP's address it
 * gets whole; what found no living backend went nowhere.
 */
static __always_inline void remember_first(const struct packet *pkt, const struct headers *ip, enum outcome outcome)
{
	struct fragment_key key = fragment_key(pkt, ip);
	struct fragment_way way = {
		.backend = pkt->backend,
		.second = now_seconds(),
		.entropy = pkt->entropy,
	};

	if (outcome == DROP_NO_BACKEND)
		return;
	if (way.backend || (outcome == PASS_NOT_VIP && is_vip_address(pkt)))
		bpf_map_update_elem(&fragments, &key, &way, BPF_ANY);
}

/* Whoever held a frame sends it again behind these bytes, so that it is not held once more. */
static __always_inline int was_held(struct xdp_md *ctx)
{
	__u64 *mark = (void *)(long)ctx->data_meta;

	return (void *)(mark + 1) <= (void *)(long)ctx->data && *mark == config.held_mark;
}

static __noinline enum outcome hold(struct xdp_md *ctx, struct held_fragment *held)
{
	__u64 size = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	held->size = size;
	held->ifindex = ctx->ingress_ifindex;
	if (was_held(ctx))
		return DROP_FRAGMENT;
	if (bpf_perf_event_output(ctx, &held_fragments, size << 32 | BPF_F_CURRENT_CPU, held, sizeof(*held)))
		return DROP_FRAGMENT;
	return HOLD_FRAGMENT;
}

/* NULL if it is not known, or no longer. */
static __always_inline struct fragment_way *find_first(const struct fragment_key *key)
{
	struct fragment_way *way = bpf_map_lookup_elem(&fragments, key);

	return way && now_seconds() - way->second <= FRAGMENT_SECONDS ? way : NULL;
}

/* Finds the backend of a later fragment. Whose it is comes first, as with whole packets: the host gets its own as they are. */
static __always_inline enum outcome rejoin(struct xdp_md *ctx, struct packet *pkt, const struct headers *ip,
					   struct backend **backend)
{
	struct held_fragment held = { .key = fragment_key(pkt, ip) };
	struct fragment_way *way;

	if (!is_vip_address(pkt))
		return PASS_NOT_VIP;
	way = find_first(&held.key);
	if (way && !way->backend)
		return PASS_NOT_VIP;
	pkt->least = ip->transport - pkt->ip_offset;
	pkt->unanswerable = 1;
	if (!is_true_length(pkt))
		return DROP_BAD_LENGTH;
	if (!way)
		return hold(ctx, &held);
	pkt->backend = way->backend;
	pkt->entropy = way->entropy;
	*backend = bpf_map_lookup_elem(&backends, &pkt->backend);
	return *backend && (*backend)->ifindex ? FORWARD : hold(ctx, &held);
}
