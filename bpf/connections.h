/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The table of nat's connections. An entry is found by the client's tuple in one
 * of two lines of tags. Nothing is locked: a connection lives as its tag says,
 * and a tag is one word, changed by compare-and-swap. Whoever reads an entry
 * looks at its tag before and after, with a barrier at both places; whoever
 * writes one does so between two compare-and-swaps, which are barriers.
 */
#pragma once

#include "barrier.h"
#include "flows.h"
#include "nat_types.h"
#include "slots.h"

/* Written here, read by the control plane. An entry means nothing unless its tag says that it lives. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct connection);
	__uint(max_entries, TAGS_PER_LINE);
} connections SEC(".maps");

/* Written here, read by the control plane. The tag of entry i is in line i / TAGS_PER_LINE. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct tag_line);
	__uint(max_entries, 1);
} connection_tags SEC(".maps");

/* Written by the control plane before the first nat VIP. Zeroes: no port is free. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct nat_settings);
	__uint(max_entries, 1);
} nat SEC(".maps");

#define NO_CONNECTION 0xffffffffU
#define CLAIM_SECONDS 2		/* more than any program takes to write an entry */

#define TAG_STATE_SHIFT TAG_EXPIRY_BITS
#define TAG_GENERATION_SHIFT (TAG_STATE_SHIFT + TAG_STATE_BITS)
#define TAG_DIGEST_SHIFT (TAG_GENERATION_SHIFT + TAG_GENERATION_BITS)
#define GENERATION_MASK ((1U << TAG_GENERATION_BITS) - 1)

static __always_inline __u32 tag_state(__u64 tag)
{
	return tag >> TAG_STATE_SHIFT & ((1U << TAG_STATE_BITS) - 1);
}

static __always_inline __u32 tag_generation(__u64 tag)
{
	return tag >> TAG_GENERATION_SHIFT & GENERATION_MASK;
}

static __always_inline __u64 make_tag(__u64 digest, __u32 generation, __u32 state, __u32 expires)
{
	return digest << TAG_DIGEST_SHIFT | (__u64)(generation & GENERATION_MASK) << TAG_GENERATION_SHIFT |
	       (__u64)state << TAG_STATE_SHIFT | expires;
}

static __always_inline int tag_lives(__u64 tag, __u32 now)
{
	return tag_state(tag) != CONNECTION_FREE && (__s32)((__u32)tag - now) >= 0;
}

/* Lives, and is written whole, and is the one that packets of its client belong to. */
static __always_inline int tag_serves(__u64 tag, __u32 now)
{
	__u32 state = tag_state(tag);

	return state != CONNECTION_CLAIMED && state != CONNECTION_RETIRED && tag_lives(tag, now);
}

/* Two words of one connection, whatever it has gone through between them. */
static __always_inline int same_connection(__u64 one, __u64 other)
{
	return one >> TAG_GENERATION_SHIFT == other >> TAG_GENERATION_SHIFT;
}

/* Of a tuple's hash: the lowest bits are one of its lines, the next the other, the highest its digest. */
static __always_inline __u32 line_of(__u64 hash, int second)
{
	return (second ? hash >> 22 : hash) & config.connection_mask;
}

static __always_inline __u64 digest_of(__u64 hash)
{
	return hash >> TAG_DIGEST_SHIFT;
}

static __always_inline __u64 *find_tag(__u32 index)
{
	__u32 at = index / TAGS_PER_LINE;
	struct tag_line *line = bpf_map_lookup_elem(&connection_tags, &at);

	return line ? &line->tag[index % TAGS_PER_LINE] : NULL;
}

static __always_inline int change_tag(__u64 *at, __u64 seen, __u64 tag)
{
	return __sync_val_compare_and_swap(at, seen, tag) == seen;
}

/* The index is copied, because Linux 6.1 takes no key from the memory of another function. */
static __always_inline struct connection *connection_of(const struct packet *pkt)
{
	__u32 index = pkt->connection;

	return bpf_map_lookup_elem(&connections, &index);
}

/* Whether the entry that was read is still that of the connection. */
static __always_inline int still_there(const struct packet *pkt)
{
	__u64 *at = find_tag(pkt->connection);

	read_barrier();
	return at && same_connection(READ_ONCE(*at), pkt->tag);
}

static __always_inline struct nat_settings *find_nat_settings(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&nat, &only);
}

static __always_inline __u32 seconds_of(const struct nat_settings *settings, __u32 state)
{
	return settings->seconds[state & 15];
}

static __always_inline int is_half_open(__u64 tag)
{
	__u32 state = tag_state(tag);

	return state != CONNECTION_FREE && state <= HALF_OPEN_LAST;
}

/* For how many seconds no packet has renewed a connection, and one more. */
static __always_inline __u32 silence_of(__u64 tag, __u32 now, const struct nat_settings *settings)
{
	return 1 + now + seconds_of(settings, tag_state(tag)) - (__u32)tag;
}

static __always_inline int is_of_client(const struct connection *connection, const struct packet *pkt)
{
	return connection->client_port == pkt->source_port && connection->vip_port == pkt->to.port &&
	       connection->protocol == pkt->to.protocol && connection->client_v6 == pkt->to.v6 &&
	       same_address(&connection->client, &pkt->source) && same_address(&connection->vip, &pkt->to.address);
}

/* Notes which connection a client's packet belongs to; NO_CONNECTION if there is none. */
__noinline int find_connection(struct packet *pkt, __u64 hash, __u32 now)
{
	if (!pkt)
		return 0;
	pkt->connection = NO_CONNECTION;
	for (int second = 0; second < 2; second++) {
		__u32 at = line_of(hash, second);
		struct tag_line *line = bpf_map_lookup_elem(&connection_tags, &at);

		if (!line)
			return 0;
		for (__u32 i = 0; i < TAGS_PER_LINE; i++) {
			__u32 index = at * TAGS_PER_LINE + i;
			__u64 tag = READ_ONCE(line->tag[i]);
			struct connection *connection;

			if (tag >> TAG_DIGEST_SHIFT != digest_of(hash) || !tag_serves(tag, now))
				continue;
			read_barrier();
			connection = bpf_map_lookup_elem(&connections, &index);
			if (connection && is_of_client(connection, pkt)) {
				pkt->connection = index;
				pkt->tag = tag;
				return 1;
			}
		}
	}
	return 0;
}
