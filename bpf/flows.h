/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The flow table: remembers the backends of flows that a change of owners would
 * otherwise break. A lookup is one cache line. Nothing is locked: an entry is
 * one word, changed by compare-and-swap, and a flow that loses such a race is
 * refused, which the law of the slots makes harmless.
 */
#pragma once

#include "hash.h"

/*
 * Written here; the control plane clears entries of backends that are gone and
 * of flows long expired, and counts what is in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow_bucket);
	__uint(max_entries, 1);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum flow_event);
	__type(value, __u64);
	__uint(max_entries, 8);
} flow_events SEC(".maps");

/* Zero. Tests turn the clock forward with it. */
__u32 clock_skew_seconds = 0;

#define SYN_ONLY_SECONDS 8	/* a handshake that takes longer has lost its SYN-ACK and starts anew */
#define EXPIRY_MASK ((1U << EXPIRY_BITS) - 1)
#define INDEX_SHIFT (EXPIRY_BITS + SYN_ONLY_BITS)
#define DIGEST_SHIFT (INDEX_SHIFT + INDEX_BITS)
#define SYN_ONLY (1ULL << EXPIRY_BITS)

/* Seconds of the monotonic clock, as Go reads it. Its coarse form costs a load. */
static __always_inline __u32 now_seconds(void)
{
	return bpf_ktime_get_coarse_ns() / NS_PER_SECOND + clock_skew_seconds;
}

static __always_inline __u32 flow_index(__u64 flow)
{
	return flow >> INDEX_SHIFT & ((1U << INDEX_BITS) - 1);
}

static __always_inline int flow_expired(__u64 flow, __u32 now)
{
	/* On a circle of 2^EXPIRY_BITS seconds, whose half is more than the longest idle timeout. */
	return ((flow - now) & EXPIRY_MASK) > EXPIRY_MASK / 2;
}

static __always_inline __u64 make_flow(__u64 hash, __u32 index, __u64 syn_only, __u32 expires)
{
	return hash >> (64 - DIGEST_BITS) << DIGEST_SHIFT | (__u64)index << INDEX_SHIFT | syn_only | (expires & EXPIRY_MASK);
}

static __always_inline struct flow_bucket *find_bucket(__u64 hash)
{
	__u32 index = hash & config.bucket_mask;

	return bpf_map_lookup_elem(&flows, &index);
}

static __always_inline void count_flow(enum flow_event event)
{
	__u64 *counter = bpf_map_lookup_elem(&flow_events, &event);

	if (counter)
		(*counter)++;
}

/* Whether an entry is of the flow, and lives. */
static __always_inline int is_flow(__u64 entry, __u64 hash, __u32 now)
{
	return entry && (entry ^ hash) >> DIGEST_SHIFT == 0 && !flow_expired(entry, now);
}

/* The last place with the flow's digest, living or not; FLOWS_PER_BUCKET if there is none. */
static __always_inline __u32 find_digest(const struct flow_bucket *bucket, __u64 hash)
{
	__u64 place = FLOWS_PER_BUCKET;

	for (__u32 i = 0; i < FLOWS_PER_BUCKET; i++) {
		__u64 other = (READ_ONCE(bucket->flow[i]) ^ hash) >> DIGEST_SHIFT;
		__u64 same = (__s64)(other - 1) >> 63; /* all ones, or zero */

		/* No branch: where in its bucket a flow is nobody can predict. The compiler would see through it. */
		asm("" : "+r"(same));
		place ^= (place ^ i) & same;
	}
	return place;
}

/* Looks at every entry with care. */
static __noinline __u32 find_flow_slowly(const struct flow_bucket *bucket, __u64 hash, __u32 now)
{
	__u32 place = FLOWS_PER_BUCKET;

	if (!bucket)
		return place;
	for (__u32 i = 0; i < FLOWS_PER_BUCKET; i++) {
		if (is_flow(READ_ONCE(bucket->flow[i]), hash, now))
			place = i;
	}
	return place;
}

/*
 * Where the flow itself stands in its bucket, living, and the word there;
 * FLOWS_PER_BUCKET if it does not. The last of its digest is mostly the one: only
 * an expired flow, and a free place for a digest of zero, can hide another.
 */
static __always_inline __u32 find_flow(const struct flow_bucket *bucket, __u64 hash, __u32 now, __u64 *word)
{
	__u32 place = find_digest(bucket, hash);

	if (place >= FLOWS_PER_BUCKET)
		return FLOWS_PER_BUCKET;
	*word = READ_ONCE(bucket->flow[place]);
	if (is_flow(*word, hash, now))
		return place;
	place = find_flow_slowly(bucket, hash, now);
	if (place >= FLOWS_PER_BUCKET)
		return FLOWS_PER_BUCKET;
	*word = READ_ONCE(bucket->flow[place]);
	return is_flow(*word, hash, now) ? place : FLOWS_PER_BUCKET;
}

/* The last place of no flow or of an expired one, and the word there; FLOWS_PER_BUCKET if all of them live. */
static __always_inline __u32 find_room(const struct flow_bucket *bucket, __u32 now, __u64 *word)
{
	for (__u32 i = FLOWS_PER_BUCKET; i > 0; i--) {
		__u64 flow = READ_ONCE(bucket->flow[i - 1]);

		if (!flow || flow_expired(flow, now)) {
			*word = flow;
			return i - 1;
		}
	}
	return FLOWS_PER_BUCKET;
}

/* Puts a flow in place of what was seen there. Fails if another CPU was faster. */
static __always_inline int put_flow(struct flow_bucket *bucket, __u32 place, __u64 seen, __u64 flow)
{
	return __sync_val_compare_and_swap(&bucket->flow[place & (FLOWS_PER_BUCKET - 1)], seen, flow) == seen;
}

/* The index of the backend that the flow is remembered at, 0 if it is not. A flow that is lives on from now, unless one only looks. */
static __always_inline __u32 recall(__u64 hash, __u32 now, __u32 idle_seconds, int looking)
{
	struct flow_bucket *bucket = find_bucket(hash);
	__u64 flow, renewed;
	__u32 place;

	if (!bucket)
		return 0;
	place = find_flow(bucket, hash, now, &flow);
	if (place == FLOWS_PER_BUCKET)
		return 0;
	renewed = make_flow(hash, flow_index(flow), 0, now + idle_seconds);
	/* At most once a second, so that a busy flow does not keep its cache line to one CPU. */
	if (renewed != flow && !looking)
		put_flow(bucket, place, flow, renewed);
	return flow_index(flow);
}

/*
 * Remembers that the flow belongs to a backend: in the flow's own entry, a free
 * or an expired one, never in that of another living flow. Returns 0 where that
 * cannot be.
 */
static __always_inline int remember(__u64 hash, __u32 now, __u64 flow)
{
	struct flow_bucket *bucket = find_bucket(hash);
	__u64 seen = 0;
	__u32 place;

	if (!bucket)
		return 0;
	place = find_flow(bucket, hash, now, &seen);
	if (place < FLOWS_PER_BUCKET)
		return put_flow(bucket, place, seen, flow);
	place = find_room(bucket, now, &seen);
	if (place == FLOWS_PER_BUCKET || !put_flow(bucket, place, seen, flow)) {
		count_flow(FLOW_REFUSED);
		return 0;
	}
	count_flow(FLOW_INSERTED);
	if (seen)
		count_flow(FLOW_EVICTED);
	return 1;
}

/* Forgets a flow: its client has begun a new one under the same ports. */
static __always_inline void forget(__u64 hash, __u32 now)
{
	struct flow_bucket *bucket = find_bucket(hash);
	__u64 flow;
	__u32 place;

	if (!bucket)
		return;
	place = find_flow(bucket, hash, now, &flow);
	if (place < FLOWS_PER_BUCKET)
		put_flow(bucket, place, flow, 0);
}
