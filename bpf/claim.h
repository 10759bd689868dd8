/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Takes an entry of the connection table for a new connection. */
#pragma once

#include "ports.h"

/* A place in a line for a new connection. */
struct room {
	__u32 index;	/* of what was free, expired, or else the half-open connection that is silent for longest */
	__u32 living;	/* in the line */
	__u32 rank;	/* 2 if that was free or expired, 1 if half open, 0 if there is none */
	__u64 seen;	/* its tag */
};

static __always_inline void look_for_room(struct room *room, __u32 at, __u32 now, const struct nat_settings *settings)
{
	struct tag_line *line = bpf_map_lookup_elem(&connection_tags, &at);
	__u32 silent = 0;

	if (!line)
		return;
	for (__u32 i = 0; i < TAGS_PER_LINE; i++) {
		__u64 tag = READ_ONCE(line->tag[i]);
		__u32 state = tag_state(tag), silence;

		if (!tag_lives(tag, now)) {
			room->rank = 2;
			room->index = at * TAGS_PER_LINE + i;
			room->seen = tag;
			continue;
		}
		room->living++;
		silence = now + seconds_of(settings, state) - (__u32)tag;
		if (room->rank == 2 || state > HALF_OPEN_LAST || (room->rank == 1 && silence < silent))
			continue;
		room->rank = 1;
		room->index = at * TAGS_PER_LINE + i;
		room->seen = tag;
		silent = silence;
	}
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
	struct nat_settings *settings = find_nat_settings();
	struct room room = {}, other = {};
	__u64 *at;

	if (!claim || !settings)
		return 0;
	look_for_room(&room, line_of(claim->hash, 0), claim->now, settings);
	if (room.living > LINE_HALF) {
		look_for_room(&other, line_of(claim->hash, 1), claim->now, settings);
		if (other.rank > room.rank || (other.rank == room.rank && other.living < room.living))
			room = other;
	}
	at = find_tag(room.index);
	if (!room.rank || !at)
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
