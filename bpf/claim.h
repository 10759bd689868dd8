/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Takes an entry of the connection table for a new connection. */
#pragma once

#include "ports.h"

/* A place in a line for a new connection. */
struct room {
	__u32 index;
	__u32 living;	/* in the line */
	__u32 fitness;	/* of the place; 0 if there is none */
	__u32 now;
	__u64 seen;	/* its tag */
};

#define FIT_IS_FREE 0xffffffffU

/* Free and expired ones before half-open ones, of which the longer a connection is silent the better; never any other. */
static __always_inline __u32 fitness_of(__u64 tag, __u32 now, const struct nat_settings *settings)
{
	if (!tag_lives(tag, now))
		return FIT_IS_FREE;
	return is_half_open(tag) ? silence_of(tag, now, settings) : 0;
}

/* Looked at by the verifier on its own, so that it does not follow the eight places' fates into what comes after. */
__noinline int look_for_room(struct room *room, __u32 at)
{
	struct tag_line *line = bpf_map_lookup_elem(&connection_tags, &at);
	struct nat_settings *settings = find_nat_settings();

	if (!room || !line || !settings)
		return 0;
	for (__u32 i = 0; i < TAGS_PER_LINE; i++) {
		__u64 tag = READ_ONCE(line->tag[i]);
		__u32 fitness = fitness_of(tag, room->now, settings);

		if (fitness != FIT_IS_FREE)
			room->living++;
		if (fitness <= room->fitness)
			continue;
		room->fitness = fitness;
		room->index = at * TAGS_PER_LINE + i;
		room->seen = tag;
	}
	return 0;
}

/*
 * Another CPU has the first packet of the same connection at the same time: of
 * the two at least one sees the other, since each has swapped in its own word
 * before.
 */
static __always_inline int is_contested(const struct claim *claim)
{
	for (int second = 0; second < 2; second++) {
		__u32 at = line_of(claim->hash, second);
		struct tag_line *line = bpf_map_lookup_elem(&connection_tags, &at);

		if (!line)
			return 1;
		for (__u32 i = 0; i < TAGS_PER_LINE; i++) {
			__u64 tag = READ_ONCE(line->tag[i]);

			if (at * TAGS_PER_LINE + i != claim->index && tag >> TAG_DIGEST_SHIFT == digest_of(claim->hash) &&
			    tag_state(tag) == CONNECTION_CLAIMED && tag_lives(tag, claim->now))
				return 1;
		}
	}
	return 0;
}

/* Gives the entry back. Its generation stays, so that no port's word of before fits it. */
static __always_inline void give_back(const struct claim *claim)
{
	__u64 *at = find_tag(claim->index);

	if (at)
		change_tag(at, claim->tag, make_tag(0, tag_generation(claim->tag), CONNECTION_FREE, 0));
}

/* A line that is more than half full is as good as the other, and the fuller one is worse. */
#define LINE_HALF (TAGS_PER_LINE / 2)

/*
 * Takes an entry: a free or expired one, or else that of the half-open
 * connection which is silent for longest, never another living one's. Zero if
 * there is none.
 */
__noinline int claim_entry(struct claim *claim)
{
	struct room room = {}, other = {};
	__u64 *at;

	if (!claim)
		return 0;
	room.now = other.now = claim->now;
	look_for_room(&room, line_of(claim->hash, 0));
	if (room.living > LINE_HALF) {
		look_for_room(&other, line_of(claim->hash, 1));
		if (other.fitness > room.fitness || (other.fitness == room.fitness && other.living < room.living))
			room = other;
	}
	at = find_tag(room.index);
	if (!room.fitness || !at)
		return 0;
	claim->index = room.index;
	claim->tag = make_tag(digest_of(claim->hash), tag_generation(room.seen) + 1, CONNECTION_CLAIMED,
			      claim->now + CLAIM_SECONDS);
	if (!change_tag(at, room.seen, claim->tag))
		return 0;
	if (tag_state(room.seen) != CONNECTION_FREE)
		free_port(room.index, tag_generation(room.seen));
	if (!is_contested(claim))
		return 1;
	give_back(claim);
	return 0;
}
