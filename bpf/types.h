/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The border between C and Go: every type and constant that both sides use.
 * Go's are generated from this file by bpf2go; nothing here is retyped there.
 */
#pragma once

#include <linux/types.h>

/*
 * What became of a packet, and why. A packet has exactly one outcome, counted
 * once, at the only exit. The prefix is the verdict. Operators see these names.
 */
enum outcome {
	FORWARD,		/* sent to a backend; counted with that backend */

	PASS_NOT_IP,		/* normal: ARP, LLDP */
	PASS_NOT_TCP_UDP,	/* normal: OSPF, another tunnel's traffic */
	PASS_NOT_VIP,		/* normal: the host's own and routed traffic */
	PASS_ICMP,		/* to a VIP's address, and the host's all the same: neighbour discovery, redirects */
	PASS_UNREADABLE,	/* headers cut short or senseless, of nobody we know */

	REPLY_ECHO,		/* to a VIP's address: an echo request */
	REPLY_TOO_BIG,		/* to a VIP, too long for the way to the backend: the sender is told, and sends shorter ones */
	REPLY_TOO_BIG_NO_DF,	/* the same of an IPv4 packet that may be fragmented: the sender is told, and fragments */
	REPLY_BACKEND,		/* from a nat backend, sent on to the client in the VIP's name */

	HOLD_FRAGMENT,		/* to a VIP's address, before the first of its packet: the daemon sends it again once that is there */

	DROP_UNREADABLE,	/* to a VIP's address, with headers cut short or too many of them */
	DROP_BAD_LENGTH,	/* to a VIP, with a length field that lies */
	DROP_BAD_FLAGS,		/* to a VIP, with TCP flags that no segment has */
	DROP_LOOP,		/* back from the very l2 backend that it would go to */
	DROP_FRAGMENT,		/* to a VIP's address, and nobody knows where the first of its packet went */
	DROP_ICMP_QUOTE,	/* an ICMP error to a VIP's address that does not say which flow it is about */
	DROP_NO_BACKEND,	/* to a VIP whose slot has no backend: all are down */
	DROP_NO_CONNECTION,	/* to a nat VIP, of a connection that is over or was never begun here, or whose backend is gone */
	DROP_NAT_FULL,		/* to a nat VIP, the first of a connection for which the table has no room */
	DROP_NAT_PORTS,		/* likewise, and no source port towards its backend is free */
	DROP_NAT_FAMILY,	/* to or from a nat backend of the other family, which has no such packet */
	DROP_TTL,		/* to or from a nat backend, and it may not be sent any further */
	DROP_TOO_BIG,		/* too long likewise, and nobody to tell, or more than may be told in a second */
	DROP_NO_HEADROOM,	/* the driver left no room for the outer header */
	DROP_NO_EGRESS,		/* the backend's interface is not in the egress map */
};

/* How a packet travels from the balancer to a backend. One byte, or a backend would not fit its cache line. */
enum forward {
	FORWARD_UNSET,
	FORWARD_IPIP,		/* RFC 2003, RFC 4213, RFC 2473: IP in IP, any mix of families */
	FORWARD_L2,		/* a new destination MAC and nothing else */
	FORWARD_GUE,		/* draft-ietf-intarea-gue-09: in UDP, whose source port tells flows apart */
	FORWARD_NAT,		/* as a connection of the balancer's own, whose answers come back to it */
} __attribute__((packed));

/* An address of either family in 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
struct address {
	__be32 word[4];
};

struct vip_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 v6;		/* 1 for IPv6, so that no IPv6 packet can pose as one for an IPv4 VIP */
};

struct vip_address {
	struct address address;
	__u32 v6;		/* as in struct vip_key */
};

enum vip_flag {
	VIP_UNSETTLED = 1,	/* some slot of the service has a phase other than SETTLED for this protocol */
	VIP_TRACK_ALWAYS = 2,	/* every flow is remembered */
	VIP_AFFINITY_CLIENT = 4, /* the slot follows from the client's address alone */
	VIP_AFFINITY_QUIC = 8,	/* a QUIC connection goes to the backend that its connection ID names */
	VIP_NAT = 16,		/* all backends are FORWARD_NAT */
};

/* Where a VIP's slots are: the service's consecutive part of the slots map. */
struct vip {
	__u32 service;
	__u32 first_slot;
	__u32 slot_count;
	__u32 idle_seconds;	/* a flow that is silent for longer is forgotten */
	enum vip_flag flags;	/* together; zero where nothing but the owner counts */
	__u8 quic_offset;	/* of the bytes of a connection ID that name a backend */
	__u8 quic_length;	/* of these, 1 to QUIC_ID_MAX */
	__u16 zero;
};

/*
 * Where a wide VIP is looked for: a prefix of addresses, for one protocol. Two
 * tries find it, by the longest prefix of the address, then of the port.
 */
struct wide_prefix {
	__u8 protocol;
	__u8 v6;		/* as in struct vip_key */
	__u8 bits;		/* of the address that count, 96 more for IPv4 */
	__u8 zero;
	struct address address;	/* the other bits are zero */
};

#define WIDE_PREFIX_FIXED 32	/* bits of the key before the address */

struct wide_prefix_key {
	__u32 bits;		/* WIDE_PREFIX_FIXED and those of the address */
	__u8 protocol;
	__u8 v6;
	__u16 zero;
	struct address address;
};

#define WIDE_VIP_FIXED 160	/* bits of the key before the port: of struct wide_prefix */
#define WIDE_ONE_PORT 0x80

struct wide_vip_key {
	__u32 bits;		/* WIDE_VIP_FIXED and those of the port; 17 for one port */
	struct wide_prefix prefix;
	__be16 port;
	__u8 one_port;		/* WIDE_ONE_PORT, or the last block of a range would be one port, too */
	__u8 zero;
};

#define QUIC_ID_MAX 8

/* The bytes by which connection IDs to a service name a backend. */
struct quic_key {
	__u32 service;
	__u8 length;
	__u8 zero[3];
	__u8 id[QUIC_ID_MAX];	/* beyond length zero */
};

/*
 * Slots are kept sixteen to a value, one cache line, because the kernel rounds
 * the values of an array map up to eight bytes. The value is an index into the
 * backends map; 0 is no backend.
 */
#define SLOTS_PER_LINE 16

struct slot_line {
	__u32 owner[SLOTS_PER_LINE];
};

/*
 * What a slot is going through, for TCP and for UDP apart. The word holds the
 * phase in its lowest two bits and the fallback above them, so that one store
 * changes both. See ARCHITECTURE.md for the table of phases.
 */
enum phase {
	SETTLED,	/* every packet goes to the owner */
	MOVING,		/* TCP: new flows to the owner if they can be remembered, forgotten ones to the fallback */
	LEARNING,	/* UDP: every flow to its backend so far, which is being remembered */
	SETTLING,	/* remembered flows to their backends, all others to the owner */
};

#define PHASE_BITS 2

struct condition {
	__u32 word;
	/*
	 * When the phase was last needed. In MOVING the second of the last packet
	 * of a flow that nobody remembers and that went to the fallback, in SETTLING
	 * of the last that went to another backend than the owner; in LEARNING the
	 * second when that began, or of the last flow that could not be remembered.
	 * A phase begins with the control plane's second; later ones are noted here.
	 */
	__u32 second;
};

#define CONDITIONS_PER_LINE 4

struct slot_conditions {
	struct condition tcp;
	struct condition udp;
};

struct condition_line {
	struct slot_conditions slot[CONDITIONS_PER_LINE];
};

/*
 * Remembered flows: one cache line is a bucket, eight bytes are a flow. From
 * the top: a digest of the flow, the index of its backend, whether only its SYN
 * was seen, and the second when it expires, modulo 2^EXPIRY_BITS. Zero is free.
 */
#define FLOWS_PER_BUCKET 8
#define DIGEST_BITS 29
#define INDEX_BITS 20
#define SYN_ONLY_BITS 1
#define EXPIRY_BITS 14

struct flow_bucket {
	__u64 flow[FLOWS_PER_BUCKET];
};

/* What became of a wish to remember a flow. */
enum flow_event {
	FLOW_INSERTED,	/* into a free entry */
	FLOW_EVICTED,	/* into that of an expired flow; counted in FLOW_INSERTED too */
	FLOW_REFUSED,	/* not: the bucket is full of living flows */
};

/*
 * All that forwarding to one backend of one service needs, resolved beforehand.
 * One cache line. Addresses are in network order as struct address.
 */
struct backend {
	__u8 next_hop_mac[6];
	__u8 egress_mac[6];
	__u32 ifindex;
	struct address source;		/* of the outer header; under nat of the packet, where there are no nat sources of its family */
	struct address destination;	/* the backend */
	__u16 longest;			/* packet that fits, bytes of IP: the path's MTU less the outer headers */
	__u16 outer_checksum;		/* one's complement sum of the outer IPv4 header without TOS, length and protocol */
	__u16 vlan[2];			/* the outer or only tag of the frame, and the inner one: TCI, DEI for the type; 0 is none */
	enum forward forward;
	__u8 outer_v6;			/* 1 where destination is an IPv6 address */
	__be16 port;			/* that the instance listens on, which nat sends to and GUE names; 0 for the VIP's */
	__u32 service;			/* the control plane's: whose this entry is */
};

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

struct backend_count {
	__u64 packets;
	__u64 bytes;		/* of IP, as the client sent it */
	__u64 new_flows;	/* TCP SYNs; UDP flows have no beginning that a packet shows */
};

#define SERVICE_NAME_SIZE 64

/* The control plane's: which service owns which slots. The program does not read it. */
struct service {
	char name[SERVICE_NAME_SIZE];
	__u32 first_slot;
	__u32 slot_count;
	__u64 fingerprint;	/* of the members and weights that the slots were built from */
};

/* How many ICMP errors were sent in a second. */
struct error_budget {
	__u32 second;
	__u32 sent;
};

/* What the fragments of one packet have in common. */
struct fragment_key {
	struct address source;
	struct address destination;
	__be32 id;		/* IPv4's in the lower half as the network has it */
	__u8 protocol;		/* 0 for IPv6 */
	__u8 v6;
	__u16 zero;
};

/* The way of a packet's first fragment. */
struct fragment_way {
	__u32 backend;		/* an index into backends; 0 for the host's own */
	__u32 second;		/* when it came */
	__u32 entropy;		/* of the flow, so that fragments leave in its order */
};

/* In front of a frame that is held. */
struct held_fragment {
	struct fragment_key key;
	__u32 size;		/* of the frame */
	__u32 ifindex;		/* where it came in */
};

/*
 * What can be turned on and off while packets flow, one word each, so that
 * whoever owns one need not know the others.
 */
struct switch_words {
	__u32 wide;		/* there are VIPs beside those with one address and one port */
	__u32 nat;		/* there are connections of nat, or may be */
	__u32 watch_drops;	/* until which second of the monotonic clock somebody wants to know of packets that are dropped */
};

/* The first outcome whose packets go nowhere, or not now; so do those of all after it. */
#define FIRST_DROP HOLD_FRAGMENT

/* What is told of a packet that was dropped, as far as its headers were read; zero is what was not. */
struct drop {
	__u64 ns;		/* of the monotonic clock */
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 vlan[2];		/* the outer or only tag that it came with, and the inner one: TCI */
	__u32 ifindex;		/* where it came in */
	__u32 length;		/* of the frame */
	enum outcome outcome;
	__u8 protocol;
	__u8 reserved[3];
};

/* How many drops were told of in a second. */
struct drop_budget {
	__u32 second;
	__u32 told;
	__u64 untold;		/* for want of a budget, or of room; ever */
};

/* Addresses that have the masked bits in common; a mask of zeroes has all of both families. */
struct address_range {
	struct address address;
	struct address mask;
};

/* Which packets are captured: those to the VIP from the client. Zero is any. */
struct capture_wish {
	__u32 until;		/* a second of the monotonic clock; 0 while nobody captures */
	__u32 ifindex;		/* of arrival */
	__u32 snaplen;		/* bytes of a frame, at most */
	__be16 vip_port;	/* a packet that shows no ports is wanted all the same */
	__u8 vip_protocol;
	__u8 reserved;
	struct address_range vip;
	struct address_range client;
};

/* What a capture is told of a packet, before the bytes of its frame: when it comes, and when it is gone. */
struct captured {
	__u64 ns;		/* of the monotonic clock */
	__u64 number;		/* of the packet on its CPU */
	__u32 ifindex;		/* where it came in; where it goes out, once it is redirected */
	__u32 queue;		/* that it came in by */
	__u32 length;		/* of the frame */
	__u32 gone;		/* 1 once the program has run; then there are the next two */
	enum outcome outcome;
	__u32 verdict;
	__u32 cpu;
	__u32 reserved;
};

/* What differs between machines. Written once, before the program is loaded. */
#define HASH_WORDS 10

struct settings {
	__u32 hash_key[HASH_WORDS];	/* NH's key, drawn from the fleet's secret */
	__u64 hash_seed;	/* of the slot and the entropy */
	__u64 flow_seed;	/* of the bucket and the digest */
	__u32 bucket_mask;	/* the number of buckets, a power of two, less one */
	__u32 connection_mask;	/* of lines of connection tags, likewise */
	__u32 reply_mask;	/* of lines of replies, likewise */
	__u64 held_mark;	/* in the metadata of a frame that was held: of this program alone, drawn at random */
	__u32 errors_per_second;	/* ICMP errors that each CPU may send */
};

/*
 * What the maps are laid out like, beside struct map_types. A new layout converts by itself, field by field and by name; the
 * version goes up only where the same bytes come to mean something else, and
 * then takeover.go says what becomes of them.
 */
enum layout_version {
	LAYOUT_VERSION = 2,	/* 1 had no map to say so */
};

struct layout {
	enum layout_version version;
	enum outcome outcomes;	/* these three are never read: their types keep the names of what was counted, */
	enum flow_event events;	/* which the kernel does not keep with maps whose keys they are, */
	enum connection_state states; /* and of what connections go through */
	__u64 secret;		/* tells whether flows were hashed with the same one; not the secret itself */
};

/*
 * The types of all maps' keys and values as BTF. The kernel keeps them, too, but
 * gives them by id alone, which takes CAP_SYS_ADMIN.
 */
#define MAP_TYPES_SIZE 16380

struct map_types {
	__u32 size;
	__u8 btf[MAP_TYPES_SIZE];
};
