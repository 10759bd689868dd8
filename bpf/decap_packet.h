/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the steps on a backend tell each other about a frame, and the cursor that both hooks fill. */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "decap_types.h"
#include "gue.h"

/* Where reading has come to. Under tc the frame may go on behind end. */
struct cursor {
	void *at;
	void *end;
	__u32 left;		/* bytes of the frame from at on */
};

struct tunnel {
	struct decap_prefix source;	/* outer source */
	struct decap_vip vip;		/* inner destination */
	void *inner;			/* the inner header, until the packet moves */
	__u32 outer_size;		/* of the outer headers */
	__u32 room;			/* bytes that the last of them says it carries */
	__u32 inner_length;		/* of the inner packet, as its header says */
	__u32 inner_least;		/* the least that may be */
	__u8 inner_v6;			/* 1 for IPv6, as the outer header promises */
	__u8 gue;			/* 1 where the inner packet lies in UDP */
	enum decap_vip_ports ports;	/* of the VIP */
	__be16 named;			/* the instance's port, where the tunnel names it */
	__u8 outer_ecn;
	__u8 inner_ecn;
};

/* The header at the cursor, which moves behind it; NULL if the frame ends before that. */
static __always_inline void *take(struct cursor *cursor, __u32 size)
{
	void *header = cursor->at;

	if (header + size > cursor->end)
		return NULL;
	cursor->at = header + size;
	cursor->left -= size;
	return header;
}
