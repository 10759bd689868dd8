/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Takes the VLAN tags of arrival off a frame, and puts those of the way to the backend on. */
#pragma once

#include "packet.h"

#define TAG_SIZE 4
#define TAG_SERVICE 0x1000	/* in a tag of a backend: DEI, which is never sent, says that the type is 802.1ad's; ServiceTag in Go */

/*
 * The frame begins that much later. What is there now is no Ethernet header:
 * whoever calls this writes one.
 */
static __noinline int untag(struct xdp_md *ctx, __u32 ip_offset)
{
	return bpf_xdp_adjust_head(ctx, ip_offset - ETH_HLEN);
}

static __always_inline void write_tag(void *at, __u16 tag)
{
	*(__be16 *)at = tag & TAG_SERVICE ? bpf_htons(ETH_P_8021AD) : bpf_htons(ETH_P_8021Q);
	*(__be16 *)(at + 2) = bpf_htons(tag & ~TAG_SERVICE);
}

/* The addresses move to the front and the tags come between them and the type, which stays where it is. */
static __noinline enum outcome tag(struct xdp_md *ctx, const __u16 *vlan)
{
	__u32 size = vlan[1] ? 2 * TAG_SIZE : TAG_SIZE;
	__u8 addresses[2 * ETH_ALEN];
	void *frame;

	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return DROP_NO_HEADROOM;
	frame = (void *)(long)ctx->data;
	if (frame + ETH_HLEN + 2 * TAG_SIZE > (void *)(long)ctx->data_end)
		return DROP_NO_HEADROOM;
	__builtin_memcpy(addresses, frame + size, sizeof(addresses));
	__builtin_memcpy(frame, addresses, sizeof(addresses));
	write_tag(frame + sizeof(addresses), vlan[0]);
	if (vlan[1])
		write_tag(frame + sizeof(addresses) + TAG_SIZE, vlan[1]);
	return FORWARD;
}
