/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The way to a client is the one that its latest packet came by: no route and no
 * neighbour is asked, and what comes through a router leaves by the same.
 */
#pragma once

#include "connections.h"
#include "tags.h"

static __always_inline int came_by(const __u32 *frame, const struct way_back *back, __u32 ifindex)
{
	const __u16 *macs = (const void *)frame, *known = (const void *)back->macs;

	/* Ours and theirs have changed places. */
	return back->ifindex == ifindex && macs[0] == known[3] && macs[1] == known[4] && macs[2] == known[5] &&
	       macs[3] == known[0] && macs[4] == known[1] && macs[5] == known[2];
}

/* A tag as those of a backend's entry: its type in a bit that is never sent. */
static __always_inline __u16 tag_of_arrival(const __be16 *type)
{
	__u16 control = bpf_ntohs(type[1]) & ~TAG_SERVICE;

	return type[0] == bpf_htons(ETH_P_8021AD) ? control | TAG_SERVICE : control;
}

/* The longest packet that an interface takes. */
static __always_inline __u16 longest_by(struct xdp_md *ctx, __u32 ifindex)
{
	__u32 mtu = 0;

	bpf_check_mtu(ctx, ifindex, &mtu, 0, 0);
	return mtu > 0xffff ? 0xffff : mtu;
}

static __always_inline void learn_way_back(struct xdp_md *ctx, const struct packet *pkt, struct connection *connection)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct way_back *back = &connection->back;
	__u16 vlan[2] = {};

	if (frame + ETH_HLEN + 8 > end)	/* more than any tags take */
		return;
	if (pkt->ip_offset > ETH_HLEN)
		vlan[0] = tag_of_arrival(frame + 12);
	if (pkt->ip_offset > ETH_HLEN + 4) {
		vlan[1] = tag_of_arrival(frame + 16);
		if (!vlan[0]) { /* a tag of zeroes says nothing */
			vlan[0] = vlan[1];
			vlan[1] = 0;
		}
	}
	if (came_by(frame, back, ctx->ingress_ifindex) && vlan[0] == back->vlan[0] && vlan[1] == back->vlan[1])
		return;
	__builtin_memcpy(back->macs, frame + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(back->macs + ETH_ALEN, frame, ETH_ALEN);
	back->vlan[0] = vlan[0];
	back->vlan[1] = vlan[1];
	if (back->ifindex != ctx->ingress_ifindex)
		back->longest = longest_by(ctx, ctx->ingress_ifindex);
	back->ifindex = ctx->ingress_ifindex;
}
