/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tells the sender of a packet that does not fit the way to its backend how long its packets may be. */
#pragma once

#include "refuse.h"

/* The tunnel's own packets may not be fragmented, and senders learn from the answer to do that by themselves. */
static __always_inline int may_be_fragmented(struct xdp_md *ctx, const struct packet *pkt)
{
	struct iphdr *ip = header_at(ctx, pkt->ip_offset, sizeof(*ip));

	return !pkt->to.v6 && ip && !(ip->frag_off & bpf_htons(DONT_FRAGMENT));
}

/*
 * RFC 1191, and RFC 4443, section 3.2. Fragments beyond the first have no port to be
 * told of, and an ICMP message must not cause another.
 */
static __always_inline enum outcome too_big(struct xdp_md *ctx, const struct packet *pkt, __u16 longest)
{
	struct refused refused = {
		.source = pkt->source,
		.vip = pkt->to.address,
		.rest = longest,
		.length = pkt->length,
		.type = pkt->to.v6 ? ICMPV6_TOO_BIG : ICMP_UNREACHABLE,
		.code = pkt->to.v6 ? 0 : ICMP_FRAGMENTATION_NEEDED,
		.ip_offset = pkt->ip_offset,
		.v6 = pkt->to.v6,
		.told = may_be_fragmented(ctx, pkt) ? REPLY_TOO_BIG_NO_DF : REPLY_TOO_BIG,
		.untold = DROP_TOO_BIG,
	};

	if (pkt->unanswerable)
		return DROP_TOO_BIG;
	return refuse(ctx, &refused);
}
