/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The border between C and Go of the backend's side, as types.h is of the balancer's. */
#pragma once

#include "types.h"

/*
 * What became of a frame on a backend, and why. A frame has exactly one
 * outcome, counted once. Whoever is not told apart as a tunnel packet for one
 * of our VIPs is passed, because the host may know what to do with it; what is
 * for a VIP and cannot be delivered is dropped under a name.
 */
enum decap_outcome {
	DECAPSULATE,		/* normal: the inner packet goes on to this host */

	PASS_NOT_TUNNEL,	/* normal: anything but IP in IP, and IP in GUE on port 6080 */
	PASS_TAGGED,		/* normal: a VLAN tag that the driver left in the frame */
	PASS_NOT_OUR_VIP,	/* normal: another tunnel's traffic */
	PASS_OUTER_CUT_SHORT,	/* the frame ends within the outer header */
	PASS_OUTER_SENSELESS,	/* version, length or checksum of the outer header lies: the host counts it as its own */
	PASS_OUTER_FRAGMENT,	/* the tunnel's packets are fragmented: the path's MTU is too small */
	PASS_OUTER_OPTIONS,	/* options or extension headers, which the balancer never sends */
	PASS_GUE_VARIANT,	/* GUE of another variant than 0 */
	PASS_GUE_OPTIONS,	/* a control message of GUE, or optional fields, which the balancer never sends */
	PASS_GUE_CHECKSUM,	/* a UDP checksum, which the balancer never sends: the host's own device may verify it */
	PASS_INNER_CUT_SHORT,	/* the tunnel packet ends within the inner header */
	PASS_INNER_SENSELESS,	/* the inner header is not of the version that the outer one promises */

	DROP_SOURCE_NOT_ALLOWED,/* to a VIP, from somebody who is not a balancer */
	DROP_INNER_LENGTH,	/* to a VIP, with an inner length that the tunnel packet does not hold */
	DROP_CONGESTED,		/* marked congestion experienced, and the flow cannot be told: RFC 6040, 4.2 */
	DROP_CANNOT_STRIP,	/* the kernel refused: between families, tc needs Linux 6.3 */

	/* Behind all others, because an older program's counters are kept under these numbers. */
	DROP_NOT_MAPPED,	/* to a VIP, for an instance on a port that no mapping of this host names */
	DROP_INNER_UNREADABLE,	/* to a VIP whose ports are mapped, with headers that end before the ports */
	DROP_CANNOT_MAP,	/* the kernel refused to write the port, in either direction */
	PASS_MAPPED_BACK,	/* normal: on the way out, an answer from a mapped port, which leaves as the VIP's */
};

/* One of the VIP addresses that this backend answers for. */
struct decap_vip {
	struct address address;
	__u32 v6;		/* 1 for IPv6, so that ::ffff:a.b.c.d on the wire is nobody's */
};

/* One byte, as it was before ports could be mapped. */
enum decap_vip_ports {
	PORTS_AS_THEY_ARE = 1,
	PORTS_MAPPED,		/* some of them */
} __attribute__((packed));

/*
 * A port of a VIP, as the way in and the way out look it up. Which instance a
 * packet is for is what the tunnel names, or nothing where it is the host's only
 * one; an answer tells it by the port that it comes from.
 */
struct decap_port {
	struct address address;	/* the VIP's */
	__be16 port;		/* on the way in the VIP's, on the way out the instance's */
	__be16 named;		/* on the way in what the tunnel names, or 0; on the way out 0 */
	__u8 protocol;
	__u8 v6;		/* as in struct decap_vip */
	__u16 zero;
};

/* A prefix of addresses, of balancers or of VIPs; the tries count bits from v6 on. */
struct decap_prefix {
	__u32 prefix_length;	/* 32 bits of v6, then the address's */
	__u32 v6;		/* in front, so that ::/0 does not speak for IPv4 */
	struct address address;
};
