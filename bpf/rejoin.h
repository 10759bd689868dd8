/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Sends all fragments of a packet the way of the first, which alone has ports.
 * One that comes before its first is held or dropped, never sent by a guess: at
 * the wrong backend a fragment of TCP may reset a connection.
 */
#pragma once

#include "connections.h"
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
 * The addresses of nat backends, for fragments that may be of their answers. Written
 * with the entries of backends. The value has no meaning. Each program's own, and
 * not pinned.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip_address);
	__type(value, __u32);
	__uint(max_entries, 1);
} nat_backends SEC(".maps");

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

static __noinline int is_from_nat_backend(const struct packet *pkt)
{
	struct vip_address key = { .address = pkt->source, .v6 = pkt->to.v6 };

	return !!bpf_map_lookup_elem(&nat_backends, &key);
}

/* Later fragments of the host's own that would be held otherwise. */
static __always_inline int is_worth_remembering(const struct packet *pkt)
{
	return is_vip_address(pkt) || (pkt->nat && is_from_nat_backend(pkt));
}

static __always_inline void note_connection(struct fragment_way *way, const struct packet *pkt, enum outcome outcome)
{
	struct connection *connection = connection_of(pkt);

	way->backend = connection ? connection->backend : 0;
	way->connection = pkt->connection;
	way->life = pkt->tag >> TAG_GENERATION_SHIFT;
	way->nat = outcome == DROP_NAT_FAMILY || outcome == REPLY_SOURCE_ROUTE ? NAT_UNTRANSLATABLE : pkt->nat;
}

/*
 * Remembers where a first fragment went. What the host gets of a VIP's address it
 * gets whole; what found no living backend went nowhere; of what is damaged it may be
 * the identification.
 */
static __noinline int remember_first(const struct packet *pkt, enum outcome outcome)
{
	struct fragment_key key = fragment_key(pkt);
	struct fragment_way way = { .second = now_seconds() };

	switch (outcome) {
	case DROP_BAD_LENGTH:
	case DROP_BAD_FLAGS:
	case DROP_BAD_CHECKSUM:
	case DROP_NO_BACKEND:
	case DROP_NO_CONNECTION:
	case DROP_NAT_FULL:
	case DROP_NAT_PORTS:
		return 0;
	case PASS_NOT_VIP:
		if (!is_worth_remembering(pkt))
			return 0;
		break;
	default:
		way.backend = pkt->backend;
		way.entropy = pkt->entropy;
		if (pkt->nat)
			note_connection(&way, pkt, outcome);
		if (!way.backend) /* it could not be read */
			return 0;
	}
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

/* Whether the connection of the first still is, which it notes. */
static __always_inline int goes_on(const struct fragment_way *way, struct packet *pkt)
{
	__u64 *at = find_tag(way->connection), tag;

	if (!at)
		return 0;
	tag = READ_ONCE(*at);
	if (tag >> TAG_GENERATION_SHIFT != way->life || !tag_serves(tag, now_seconds()))
		return 0;
	read_barrier();
	pkt->connection = way->connection;
	pkt->tag = tag;
	return 1;
}

/* Whether it is the host's, as far as is known. What comes before its first may be a nat backend's answer. */
static __always_inline int is_of_host(struct packet *pkt, const struct fragment_way *way, int to_vip)
{
	if (!way)
		return !to_vip && !(is_true_length(pkt) && is_from_nat_backend(pkt));
	if (!to_vip && way->nat < NAT_REPLY) /* it was of a VIP that is gone */
		return 1;
	return !way->backend || (way->nat == NAT_REPLY && !goes_on(way, pkt));
}

/* FORWARD if its backend is found and lives, or its connection: then there is no backend here, and pkt->nat says so. */
static __always_inline enum outcome follow(struct packet *pkt, const struct fragment_way *way, struct backend **backend)
{
	__u32 index = way->backend;
	struct backend *found;

	if (way->nat == NAT_UNTRANSLATABLE)
		return DROP_NAT_FAMILY;
	if (way->nat == NAT_REPLY) {
		pkt->nat = NAT_REPLY;
		return FORWARD;
	}
	found = bpf_map_lookup_elem(&backends, &index);
	if (!found || !found->ifindex || (way->nat && !goes_on(way, pkt)))
		return DROP_FRAGMENT;
	pkt->backend = index;
	pkt->entropy = way->entropy;
	pkt->nat = way->nat;
	if (!way->nat)
		*backend = found;
	return FORWARD;
}

/* Finds the way of a later fragment, as follow says. Whose it is comes first, as with whole packets: the host gets its own as they are. */
static __always_inline enum outcome rejoin(struct xdp_md *ctx, struct packet *pkt, struct backend **backend)
{
	struct held_fragment held = { .key = fragment_key(pkt) };
	enum outcome result = DROP_FRAGMENT;
	int to_vip = is_vip_address(pkt);
	struct fragment_way *way;

	if (!to_vip && !nat_is_on())
		return PASS_NOT_VIP;
	way = find_first(&held.key);
	if (is_of_host(pkt, way, to_vip))
		return PASS_NOT_VIP;
	if (!is_true_length(pkt))
		return DROP_BAD_LENGTH;
	if (way)
		result = follow(pkt, way, backend);
	if (result == DROP_FRAGMENT)
		result = hold(ctx, &held);
	return result == DROP_FRAGMENT && !to_vip ? PASS_NOT_VIP : result;
}
