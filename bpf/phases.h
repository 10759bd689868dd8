/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Chooses the backend of a packet whose slot is not settled, or whose flows are
 * all remembered. The law: a new flow may go to the new owner only if it can be
 * remembered; otherwise it goes where a forgotten flow would go.
 */
#pragma once

#include "barrier.h"
#include "flows.h"

/*
 * What each slot goes through. Phases and fallbacks are written by the control
 * plane, seconds also here. Not read at all while the service is settled.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct condition_line);
	__uint(max_entries, 1);
} conditions SEC(".maps");

/*
 * Written by the control plane before any slot, fallback or flow names the
 * index, and cleared after the last one has stopped to. Mapped only so that
 * entries start on a page and each fills one cache line. An entry whose ifindex
 * is 0 is of no living backend.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(max_entries, 1);
} backends SEC(".maps");

/* A packet in search of its backend. */
struct seeker {
	__u64 hash;		/* of the flow, for its bucket and digest */
	__u32 owner;
	__u32 now;
	__u32 idle_seconds;
	__u8 new_flow;		/* 1 for a TCP SYN */
	__u8 track_always;
	__u8 looking;		/* 1 if the packet leaves no trace: it is about the flow, not of it */
	__u8 unlearned;		/* set to 1 where LEARNING could not remember the flow */
	__u8 remembered;	/* set to 1 where the flow was remembered before */
};

static __always_inline struct condition *find_condition(__u32 slot, __u8 protocol)
{
	__u32 index = slot / CONDITIONS_PER_LINE;
	struct condition_line *line = bpf_map_lookup_elem(&conditions, &index);
	struct slot_conditions *both;

	if (!line)
		return NULL;
	both = &line->slot[slot % CONDITIONS_PER_LINE];
	return protocol == IPPROTO_TCP ? &both->tcp : &both->udp;
}

/* A remembered backend that has died counts as not remembered. */
static __always_inline __u32 recall_living(const struct seeker *seeker)
{
	__u32 index = recall(seeker->hash, seeker->now, seeker->idle_seconds, seeker->looking);
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	return backend && backend->ifindex ? index : 0;
}

/* Not for longer than any silent flow: an entry must not outlive the phase of its slot. */
static __always_inline int remember_new(const struct seeker *seeker, __u32 index)
{
	__u32 seconds = seeker->idle_seconds < SYN_ONLY_SECONDS ? seeker->idle_seconds : SYN_ONLY_SECONDS;

	return remember(seeker->hash, seeker->now,
			make_flow(seeker->hash, index, SYN_ONLY, seeker->now + seconds));
}

static __always_inline int remember_old(const struct seeker *seeker, __u32 index)
{
	return remember(seeker->hash, seeker->now,
			make_flow(seeker->hash, index, 0, seeker->now + seeker->idle_seconds));
}

/* A TCP SYN. */
static __noinline __u32 place_new_flow(const struct seeker *seeker, enum phase phase, __u32 fallback)
{
	if (!seeker->owner)
		return 0;
	if (phase == MOVING)
		return remember_new(seeker, seeker->owner) ? seeker->owner : fallback;
	if (seeker->track_always)
		remember_new(seeker, seeker->owner);
	else
		forget(seeker->hash, seeker->now);
	return seeker->owner;
}

/* Any other packet. */
static __noinline __u32 place_old_flow(struct seeker *seeker, enum phase phase, __u32 fallback)
{
	__u32 remembered = recall_living(seeker);
	__u32 otherwise = phase == MOVING || phase == LEARNING ? fallback : seeker->owner;

	if (remembered) {
		seeker->remembered = 1;
		return remembered;
	}
	if (otherwise && !seeker->looking && (phase == LEARNING || seeker->track_always))
		seeker->unlearned = !remember_old(seeker, otherwise);
	return otherwise;
}

/* Not inlined, so that the settled path stays short. Returns 0 where there is no backend. */
static __noinline __u32 choose(struct seeker *seeker, __u32 slot, __u8 protocol)
{
	struct condition *condition = find_condition(slot, protocol);
	__u32 word, fallback, chosen;
	enum phase phase;
	int note;

	if (!condition)
		return seeker->owner;
	read_barrier(); /* a slot's new owner must not be met with its old phase, which is written before */
	word = READ_ONCE(condition->word);
	phase = word & ((1 << PHASE_BITS) - 1);
	fallback = word >> PHASE_BITS;
	if (phase == SETTLED && !seeker->track_always)
		return seeker->owner;

	seeker->now = now_seconds();
	chosen = seeker->new_flow ? place_new_flow(seeker, phase, fallback) : place_old_flow(seeker, phase, fallback);
	/* LEARNING begins anew with each flow that could not be remembered: SETTLING would break it. */
	note = phase == LEARNING ? seeker->unlearned : chosen != seeker->owner;
	/* MOVING lasts as long as its fallback has flows that nobody remembers: for the others SETTLING will do. */
	if (seeker->looking || (phase == MOVING && seeker->remembered))
		note = 0;
	if (note && condition->second != seeker->now)
		condition->second = seeker->now;
	return chosen;
}
