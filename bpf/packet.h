/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the steps of the pipeline tell each other about a packet. */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "types.h"

/* One load that the compiler may neither repeat nor split: Go stores beside us. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

#define NS_PER_SECOND 1000000000ULL

#define TCP_SYN 0x02
#define TCP_ACK 0x10

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
		 (a->word[3] ^ b->word[3]));
}

struct packet {
	struct vip_key to;	/* destination, its port, protocol and family */
	struct address source;
	__be16 source_port;
	__u16 length;		/* of the IP packet, as its header says */
	__u16 room;		/* bytes of the frame behind the Ethernet header and its tags, at most 65,535 */
	__u16 ip_headers;	/* bytes: where the transport's header stands behind ip_offset */
	__u8 tos;		/* IPv4 TOS or IPv6 traffic class: DSCP and ECN */
	__u8 new_flow;		/* 1 for a TCP SYN */
	__u16 fragment_at;	/* where IPv6's fragment header stands behind ip_offset */
	__u32 least;		/* that length may be: all headers, and what UDP's own says */
	__u8 tcp_flags;		/* its second byte of flags; of what is not TCP, ACK */
	__u8 ip_offset;		/* of the IP header in the frame: 14, or 4 and 8 more with tags */
	__u8 unanswerable;	/* 1 where no ICMP error may answer: an ICMP message, a fragment but the first */
	__u8 looking;		/* 1 if it is only about the flow: it goes that way and leaves no trace there */
	__u8 fragment;		/* enum fragment */
	__u8 nat;		/* enum nat */
	__u16 fragment_bits;	/* more-fragments flag and offset, as IPv4 has them; of an ICMP error those of what it quotes, as the next */
	__u32 fragment_id;	/* as the network has it; IPv4's in the lower half */
	__u32 entropy;		/* of the flow, independent of its slot */
	__u32 backend;		/* its index, for the counters */
	__u32 forward_verdict;	/* XDP_TX or XDP_REDIRECT, once it is FORWARD for good */
	__u32 connection;	/* of nat: its index */
	__u64 tag;		/* what it goes through */
};
