/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Of the border between C and Go, as types.h: what connections of nat are kept in. */
#pragma once

#include "types.h"

/*
 * What a nat connection is going through. The order is that of its life, not of
 * its weight: only those up to HALF_OPEN_LAST give way to newer ones.
 */
enum connection_state {
	CONNECTION_FREE,
	CONNECTION_SYN,		/* half open: nothing but SYNs from the client */
	CONNECTION_SYN_ACK,	/* half open: the backend has answered, the client not yet proved that it heard */
	CONNECTION_ONE_WAY,	/* half open: UDP from the client alone */
	CONNECTION_ANSWERED,	/* half open: UDP, and the backend has answered; whoever forges a source does not go on */
	CONNECTION_CLAIMED,	/* being written */
	CONNECTION_ESTABLISHED,
	CONNECTION_STREAM,	/* UDP that has gone on after an answer */
	CONNECTION_FIN_CLIENT,	/* the client has closed its half */
	CONNECTION_FIN_BACKEND,
	CONNECTION_LAST_ACK,	/* both, the client first: TIME-WAIT is the client's */
	CONNECTION_TIME_WAIT,	/* both, the backend first, which remembers the port */
	CONNECTION_RESET_CLIENT, /* the client has sent RST */
	CONNECTION_RESET_BACKEND,
	CONNECTION_RETIRED,	/* its client has begun another one under the same ports; keeps its port */
	CONNECTION_STATES,
};

#define HALF_OPEN_LAST CONNECTION_ANSWERED

#define TAGS_PER_LINE 8

/*
 * The life of each connection, a word each, from the top: a digest of the
 * client's tuple, a generation that tells an entry's successive connections
 * apart, the state, and the second of the monotonic clock when it expires. The
 * word is what is changed by compare-and-swap; who has won that owns the entry.
 */
struct tag_line {
	__u64 tag[TAGS_PER_LINE];
};

#define TAG_DIGEST_BITS 20
#define TAG_GENERATION_BITS 8
#define TAG_STATE_BITS 4
#define TAG_EXPIRY_BITS 32

/*
 * The source ports in use, a word each: eight neighbouring ports of one nat
 * source towards one backend are a line. From the top: a digest of what the
 * line is for, the connection's generation, its index. Zero is free.
 */
struct reply_line {
	__u64 reply[TAGS_PER_LINE];
};

#define REPLY_DIGEST_BITS 24
#define REPLY_INDEX_BITS 32

/* Where packets to a client go: as its latest one came. */
struct way_back {
	__u8 macs[12];		/* the client's side and ours, as a frame to it begins */
	__u32 ifindex;
	__u16 vlan[2];		/* as in struct backend */
	__u16 longest;		/* packet that the interface takes */
	__u16 zero;
};

/* A connection, for packets of both directions. Written before its tag is, and then left alone, but for the way back. */
struct connection {
	struct address client;
	struct address vip;
	struct address source;		/* the nat source: the client as the backend sees it */
	struct address backend_address;
	__be16 client_port;
	__be16 vip_port;
	__be16 source_port;
	__be16 backend_port;
	__u32 backend;			/* its index */
	__u32 reply;			/* where in the replies its port is */
	struct way_back back;
	__u32 begun;			/* second of the monotonic clock */
	__be32 backend_isn;		/* of the SYN-ACK: a client that acknowledges it has heard it */
	__u16 delta;			/* one's complement sum, of what a packet to the backend has other ends by */
	__u16 request_pseudo;		/* that of addresses and protocol as the client sends them, */
	__u16 reply_pseudo;		/* and as the backend does */
	__u8 protocol;
	__u8 client_v6;
	__u8 backend_v6;
	__u8 reserved[7];
};

#define NAT_SOURCES_MAX 8

/* How connections are made, and how long they last. Written by the control plane, whole. */
struct nat_settings {
	struct address sources_v4[NAT_SOURCES_MAX];
	struct address sources_v6[NAT_SOURCES_MAX];
	__u32 sources_v4_count;	/* 0: the source of the backend's entry */
	__u32 sources_v6_count;
	__u32 first_port;	/* a multiple of TAGS_PER_LINE, as the next */
	__u32 port_count;
	__u32 seconds[16];	/* of silence, by enum connection_state */
};
