/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sends all fragments of a packet the way of the first, which alone has ports.
 * One that comes before its first is held or dropped, never sent by a guess: at
 * the wrong backend a fragment of TCP may reset a connection.
 */
#pragma once

#include "copy.h"
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

/* What live frames can be sent again (BPF_F_TEST_XDP_LIVE_FRAMES): a page, less what the kernel puts there. */
#define HELD_FRAME_SIZE 3520
#define HELD_BYTES (1024 * 1024)

struct held_frame {
	struct held_fragment about;
	__u8 frame[HELD_FRAME_SIZE];
};

/* To the daemon that has loaded this program. Each program's own, and not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, HELD_BYTES);
} held_fragments SEC(".maps");

/*
 * Until which second of the monotonic clock fragments are held. Written by that daemon
 * again and again while it lives, so that one which dies soon holds nothing.
 */
volatile __u32 hold_until SEC(".data.hold") = 0;

/*
 * What RFC 791, section 3.2, and RFC 8200, section 4.5, say that fragments have in
 * common. IPv6's may name different next headers.
 */
static __always_inline struct fragment_key fragment_key(const struct packet *pkt)
{
	return (struct fragment_key){
		.source = pkt->source,
		.destination = pkt->to.address,
		.id = pkt->fragment_id,
		.protocol = pkt->to.v6 ? 0 : pkt->to.protocol,
		.v6 = pkt->to.v6,
	};
}

/*
 * Remembers where a first fragment went. What the host gets of a VIP's address it
 * gets whole; what found no living backend went nowhere.
 */
static __noinline int remember_first(const struct packet *pkt, enum outcome outcome)
{
	struct fragment_key key = fragment_key(pkt);
	struct fragment_way way = {
		.backend = pkt->backend,
		.second = now_seconds(),
		.entropy = pkt->entropy,
	};

	if (outcome == DROP_NO_BACKEND)
		return 0;
	if (way.backend || (outcome == PASS_NOT_VIP && is_vip_address(pkt)))
		bpf_map_update_elem(&fragments, &key, &way, BPF_ANY);
	return 0;
}

/* Whoever held a frame sends it again behind these bytes, so that it is not held once more. */
static __always_inline int was_held(struct xdp_md *ctx)
{
	__u64 *mark = (void *)(long)ctx->data_meta;

	return (void *)(mark + 1) <= (void *)(long)ctx->data && *mark == config.held_mark;
}

/* False where there is no room. A global function, see copy.h. */
__noinline int hand_over(struct xdp_md *ctx, struct held_fragment *held)
{
	struct held_frame *to;

	if (!held || held->size > HELD_FRAME_SIZE)
		return 0;
	to = bpf_ringbuf_reserve(&held_fragments, sizeof(*to), 0);
	if (!to)
		return 0;
	to->about = *held;
	copy_frame(ctx, to->frame, HELD_FRAME_SIZE, held->size);
	bpf_ringbuf_submit(to, 0);
	return 1;
}

static __noinline enum outcome hold(struct xdp_md *ctx, struct held_fragment *held)
{
	held->size = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	held->ifindex = ctx->ingress_ifindex;
	if (was_held(ctx) || bpf_ktime_get_ns() / NS_PER_SECOND >= hold_until)
		return DROP_FRAGMENT;
	return hand_over(ctx, held) ? HOLD_FRAGMENT : DROP_FRAGMENT;
}

/* NULL if it is not known, or no longer. */
static __always_inline struct fragment_way *find_first(const struct fragment_key *key)
{
	struct fragment_way *way = bpf_map_lookup_elem(&fragments, key);

	return way && now_seconds() - way->second <= FRAGMENT_SECONDS ? way : NULL;
}

/* Finds the backend of a later fragment. Whose it is comes first, as with whole packets: the host gets its own as they are. */
static __always_inline enum outcome rejoin(struct xdp_md *ctx, struct packet *pkt, struct backend **backend)
{
	struct held_fragment held = { .key = fragment_key(pkt) };
	struct fragment_way *way;
	__u32 index;

	if (!is_vip_address(pkt))
		return PASS_NOT_VIP;
	way = find_first(&held.key);
	if (way && !way->backend)
		return PASS_NOT_VIP;
	if (!is_true_length(pkt))
		return DROP_BAD_LENGTH;
	if (!way)
		return hold(ctx, &held);
	index = way->backend;
	pkt->backend = index;
	pkt->entropy = way->entropy;
	*backend = bpf_map_lookup_elem(&backends, &index);
	return *backend && (*backend)->ifindex ? FORWARD : hold(ctx, &held);
}
