/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Source ports towards backends. A port has one place, which follows from it and
 * from whom it is used towards; so who swaps a word in there has it, and no two
 * connections can have the same.
 */
#pragma once

#include "connections.h"

/* Written here, read by the control plane. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct reply_line);
	__uint(max_entries, 1);
} connection_replies SEC(".maps");

#define REPLY_GENERATION_SHIFT REPLY_INDEX_BITS
#define REPLY_DIGEST_SHIFT (REPLY_GENERATION_SHIFT + TAG_GENERATION_BITS)

#define PORT_LINES_TRIED 32	/* ways meet and fill together: with nine ports of ten in use and 16, six connections in ten thousand find none */

/* From line to line: primes above 65536 / TAGS_PER_LINE, so that all lines are on the way, and two, so that ways part again. */
#define STEP 8209
#define OTHER_STEP 8219

static __always_inline __u64 make_reply(__u64 hash, __u32 generation, __u32 index)
{
	return hash >> REPLY_DIGEST_SHIFT << REPLY_DIGEST_SHIFT | (__u64)generation << REPLY_GENERATION_SHIFT | index;
}

static __always_inline __u32 reply_generation(__u64 reply)
{
	return reply >> REPLY_GENERATION_SHIFT & GENERATION_MASK;
}

/* Of what a backend's packets have in common but the port that they are to. */
static __always_inline __u64 reply_hash(const struct address *backend, __be16 port, const struct address *source,
					__u8 protocol, int v6)
{
	__u64 sum = nh(backend->word[3], source->word[3], 0) + nh(port, protocol, 2);

	if (v6) {
		sum += nh(backend->word[0], backend->word[1], 4);
		sum += nh(backend->word[2], source->word[0], 6);
		sum += nh(source->word[1], source->word[2], 8);
	}
	return flow_hash(sum);
}

/*
 * Where in the replies a port is. Neighbouring ports are neighbours there, and from one
 * eight of them to the next it is an odd step, so that those of one backend never meet
 * in a table that has room for them. Each backend has a step of its own: else two that
 * begin near each other would share all their places.
 */
static __always_inline __u32 place_of(__u64 hash, __u32 port)
{
	__u32 step = (__u32)(hash >> 32) | 1;

	return (((__u32)hash + port / TAGS_PER_LINE * step) & config.reply_mask) * TAGS_PER_LINE + port % TAGS_PER_LINE;
}

static __always_inline __u64 *find_reply(__u32 place)
{
	__u32 at = place / TAGS_PER_LINE;
	struct reply_line *line = bpf_map_lookup_elem(&connection_replies, &at);

	return line ? &line->reply[place % TAGS_PER_LINE] : NULL;
}

static __always_inline void free_port(__u32 index, __u32 generation)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &index);
	__u64 *at, seen;

	if (!connection)
		return;
	at = find_reply(connection->reply);
	if (!at)
		return;
	seen = READ_ONCE(*at);
	if ((__u32)seen == index && reply_generation(seen) == generation)
		change_tag(at, seen, 0);
}

/*
 * Whether nobody has a port any more. Of a connection that has expired that is
 * only sure once its tag is changed: a packet could renew it at this moment.
 */
static __always_inline int is_stale(__u64 reply, __u32 now)
{
	__u64 *at = find_tag((__u32)reply);
	__u64 tag;

	if (!at)
		return 1;
	tag = READ_ONCE(*at);
	if (tag_generation(tag) != reply_generation(reply))
		return 1;
	if (tag_lives(tag, now))
		return 0;
	return change_tag(at, tag, make_tag(0, tag_generation(tag) + 1, CONNECTION_FREE, 0));
}

/* An entry that is nobody's but its claimer's. */
struct claim {
	__u64 hash;	/* of the client's tuple */
	__u64 tag;
	__u32 index;
	__u32 now;
	__u32 try;	/* the how manieth line of ports is looked at */
	__u32 silence;	/* of the half-open connection that is silent for longest among those met; zero if there was none */
	__u64 spare;	/* its word in the replies */
	__u32 spare_port;
	__u32 spare_try; /* at which it was met */
};

/* Notes a port that is in use, if no half-open connection that was met before is silent for as long as its own. */
static __always_inline void note_half_open(struct claim *claim, __u64 reply, __u32 port)
{
	struct nat_settings *settings = find_nat_settings();
	__u64 *at = find_tag((__u32)reply), tag;
	__u32 silence;

	if (!at || !settings)
		return;
	tag = READ_ONCE(*at);
	if (!is_half_open(tag))
		return;
	silence = silence_of(tag, claim->now, settings);
	if (silence <= claim->silence)
		return;
	claim->silence = silence;
	claim->spare = reply;
	claim->spare_port = port;
	claim->spare_try = claim->try;
}

/* Takes one of the eight ports from first on. Looked at by the verifier once, not at each try. */
__noinline int claim_in_line(struct connection *connection, struct claim *claim, __u64 hash, __u32 first)
{
	__u64 mine;

	if (!connection || !claim)
		return 0;
	mine = make_reply(hash, tag_generation(claim->tag), claim->index);
	for (__u32 i = 0; i < TAGS_PER_LINE; i++) {
		__u32 port = first + ((i + (__u32)claim->hash) % TAGS_PER_LINE);
		__u32 place = place_of(hash, port);
		__u64 *at = find_reply(place);
		__u64 seen;

		if (!at)
			return 0;
		seen = READ_ONCE(*at);
		if (seen && !is_stale(seen, claim->now)) {
			note_half_open(claim, seen, port);
			continue;
		}
		if (!change_tag(at, seen, mine))
			continue;
		connection->source_port = bpf_htons(port);
		connection->reply = place;
		return 1;
	}
	return 0;
}

/*
 * Takes the port of the half-open connection that is silent for longest among those
 * met. A flood may have all ports, and would have them again and again.
 */
__noinline int claim_half_open(struct connection *connection, struct claim *claim, __u64 hash)
{
	__u64 *at, tag;

	if (!connection || !claim)
		return 0;
	at = find_tag((__u32)claim->spare);
	if (!at)
		return 0;
	tag = READ_ONCE(*at);
	if (tag_generation(tag) != reply_generation(claim->spare) || !is_half_open(tag))
		return 0;
	if (!change_tag(at, tag, make_tag(0, tag_generation(tag) + 1, CONNECTION_FREE, 0)))
		return 0;
	at = find_reply(place_of(hash, claim->spare_port));
	if (!at || !change_tag(at, claim->spare, make_reply(hash, tag_generation(claim->tag), claim->index)))
		return 0;
	connection->source_port = bpf_htons(claim->spare_port);
	connection->reply = place_of(hash, claim->spare_port);
	return 1;
}

/* The source of a try, and of how many: that of the backend's entry, which is there already, if there are no others. */
static __always_inline __u32 choose_source(struct connection *connection, const struct nat_settings *settings,
					  __u32 chosen)
{
	__u32 count = connection->backend_v6 ? settings->sources_v6_count : settings->sources_v4_count;

	if (!count)
		return 1;
	chosen = chosen % count % NAT_SOURCES_MAX;
	if (connection->backend_v6)
		connection->source = settings->sources_v6[chosen];
	else
		connection->source = settings->sources_v4[chosen];
	return count;
}

/* The hash by which a connection has its ports, from the source of a try. */
static __always_inline __u64 hash_of_try(struct connection *connection, const struct nat_settings *settings,
					 const struct claim *claim, __u32 i, __u32 *sources)
{
	*sources = choose_source(connection, settings, (__u32)(claim->hash >> 8) + i);
	return reply_hash(&connection->backend_address, connection->backend_port, &connection->source,
			  connection->protocol, connection->backend_v6);
}

/*
 * Finds a port towards a connection's backend that nobody uses, and takes it; or
 * else that of a half-open connection. Zero if it finds none.
 */
__noinline int claim_port(struct connection *connection, struct claim *claim)
{
	struct nat_settings *settings = find_nat_settings();
	__u32 lines, line, step, sources;

	if (!connection || !claim || !settings)
		return 0;
	lines = settings->port_count / TAGS_PER_LINE;
	if (!lines)
		return 0;
	line = claim->hash % lines;
	step = claim->hash >> 16 & 1 ? STEP : OTHER_STEP;
	for (__u32 i = 0; i < PORT_LINES_TRIED; i++) {
		__u64 hash = hash_of_try(connection, settings, claim, i, &sources);
		__u32 first = settings->first_port + line * TAGS_PER_LINE;

		claim->try = i;
		if (claim_in_line(connection, claim, hash, first))
			return 1;
		if ((i + 1) % sources == 0) /* all of them have been tried with this line */
			line = (line + step) % lines;
	}
	if (!claim->silence)
		return 0;
	return claim_half_open(connection, claim, hash_of_try(connection, settings, claim, claim->spare_try, &sources));
}

static __always_inline int is_of_backend(const struct connection *connection, const struct packet *pkt)
{
	return connection->backend_port == pkt->source_port && connection->source_port == pkt->to.port &&
	       connection->protocol == pkt->to.protocol && connection->backend_v6 == pkt->to.v6 &&
	       same_address(&connection->backend_address, &pkt->source) &&
	       same_address(&connection->source, &pkt->to.address);
}

/* Notes which connection a backend's packet belongs to; NO_CONNECTION if there is none. */
static __always_inline void find_answered(struct packet *pkt, __u32 now)
{
	__u64 hash = reply_hash(&pkt->source, pkt->source_port, &pkt->to.address, pkt->to.protocol, pkt->to.v6);
	__u64 *at = find_reply(place_of(hash, bpf_ntohs(pkt->to.port))), reply, tag;
	struct connection *connection;
	__u32 index;

	pkt->connection = NO_CONNECTION;
	if (!at)
		return;
	reply = READ_ONCE(*at);
	index = reply;
	if (!reply || (reply ^ hash) >> REPLY_DIGEST_SHIFT)
		return;
	at = find_tag(index);
	connection = bpf_map_lookup_elem(&connections, &index);
	if (!at || !connection)
		return;
	tag = READ_ONCE(*at);
	if (tag_generation(tag) != reply_generation(reply) || !tag_serves(tag, now))
		return;
	read_barrier();
	if (!is_of_backend(connection, pkt))
		return;
	pkt->connection = index;
	pkt->tag = tag;
}
