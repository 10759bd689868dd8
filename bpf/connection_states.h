/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a packet does to its connection: the states, and how long each may be silent. */
#pragma once

#include "connections.h"

#define TCP_FIN 0x01
#define TCP_RST 0x04

/* A client that forges its address cannot see the backend's SYN-ACK, and so does not know what to acknowledge. */
#define PROOF_WINDOW 65536

/* A segment of the sender of a RST is proof that somebody else has sent that, unless it was just overtaken. */
#define OVERTAKEN_SECONDS 2

/* A packet, as far as states go. */
struct sign {
	__u8 flags;		/* of TCP */
	__u8 from_client;
	__u8 proves;		/* that the client has heard the backend */
	__u8 protocol;
};

static __always_inline __u32 after_datagram(__u32 state, int from_client)
{
	if (!from_client)
		return state == CONNECTION_ONE_WAY ? CONNECTION_ANSWERED : state;
	return state == CONNECTION_ANSWERED ? CONNECTION_STREAM : state;
}

static __always_inline __u32 after_fin(__u32 state, int from_client)
{
	switch (state) {
	case CONNECTION_ESTABLISHED:
		return from_client ? CONNECTION_FIN_CLIENT : CONNECTION_FIN_BACKEND;
	case CONNECTION_FIN_CLIENT:
		return from_client ? state : CONNECTION_LAST_ACK;
	case CONNECTION_FIN_BACKEND:
		return from_client ? CONNECTION_TIME_WAIT : state;
	default:
		return state;
	}
}

/* A RST in answer to a SYN leaves it half open: a port scan must not hold the table. */
static __always_inline __u32 after_reset(__u32 state, int from_client)
{
	switch (state) {
	case CONNECTION_ESTABLISHED:
	case CONNECTION_FIN_CLIENT:
	case CONNECTION_FIN_BACKEND:
		return from_client ? CONNECTION_RESET_CLIENT : CONNECTION_RESET_BACKEND;
	default:
		return state;
	}
}

static __always_inline __u32 after_segment(__u32 state, const struct sign *sign, __u32 silence)
{
	__u32 reset_by = sign->from_client ? CONNECTION_RESET_CLIENT : CONNECTION_RESET_BACKEND;

	if (sign->flags & TCP_SYN)
		return state == CONNECTION_SYN && !sign->from_client ? CONNECTION_SYN_ACK : state;
	if (sign->flags & TCP_RST)
		return after_reset(state, sign->from_client);
	if (state == reset_by && silence >= OVERTAKEN_SECONDS)
		state = CONNECTION_ESTABLISHED;
	if (state == CONNECTION_SYN_ACK && sign->from_client && sign->proves)
		state = CONNECTION_ESTABLISHED;
	/* Who acknowledges after its FIN has closed at the same time as the client, and remembers the port. */
	if (state == CONNECTION_LAST_ACK && !sign->from_client && !(sign->flags & TCP_FIN))
		return CONNECTION_TIME_WAIT;
	return sign->flags & TCP_FIN ? after_fin(state, sign->from_client) : state;
}

/* What makes a connection go on living: not what anybody can send, or a backend repeats by itself. */
static __always_inline int renews(__u32 before, __u32 after, const struct sign *sign)
{
	if (before != after)
		return 1;
	switch (before) {
	case CONNECTION_SYN:
	case CONNECTION_SYN_ACK:
		return sign->from_client && sign->flags & TCP_SYN;
	case CONNECTION_RESET_CLIENT:
	case CONNECTION_RESET_BACKEND:
		return 0;
	default:
		return !(sign->flags & TCP_SYN);
	}
}

static __always_inline __u64 renewed_tag(__u64 tag, const struct sign *sign, __u32 now, const struct nat_settings *settings)
{
	__u32 before = tag_state(tag), after;

	if (sign->protocol == IPPROTO_UDP)
		after = after_datagram(before, sign->from_client);
	else
		after = after_segment(before, sign, now + seconds_of(settings, before) - (__u32)tag);
	if (!renews(before, after, sign))
		return tag;
	return make_tag(tag >> TAG_DIGEST_SHIFT, tag_generation(tag), after, now + seconds_of(settings, after));
}

#define RENEWAL_TRIES 3	/* packets of both directions may be at it at once, and each may mean something */

/* Lets a connection go on by a packet. At most once a second does that write, unless it means something. */
static __always_inline void live_on(const struct packet *pkt, const struct sign *sign)
{
	struct nat_settings *settings = find_nat_settings();
	__u64 *at = find_tag(pkt->connection), tag = pkt->tag;
	__u32 now = now_seconds();

	if (!settings || !at)
		return;
	for (int i = 0; i < RENEWAL_TRIES; i++) {
		__u64 renewed = renewed_tag(tag, sign, now, settings), there;

		if (renewed == tag)
			return;
		there = __sync_val_compare_and_swap(at, tag, renewed);
		if (there == tag || !same_connection(there, tag))
			return;
		tag = there;
	}
}
