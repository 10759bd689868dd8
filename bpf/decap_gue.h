/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads what lies between the outer header and the inner one under GUE. */
#pragma once

#include "decap_packet.h"

#define IPV4_OFFSET 0x1fff	/* RFC 791: fragment offset */

static __always_inline int carries_ip(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6;
}

/* Of a fragment only the first has a port; the others are anybody's. */
static __always_inline int to_gue_port(const struct cursor *cursor, const struct udphdr *udp, __be16 fragment)
{
	if (fragment & bpf_htons(IPV4_OFFSET) || (void *)(udp + 1) > cursor->end)
		return 0;
	return udp->dest == bpf_htons(GUE_PORT);
}

/*
 * From here on the UDP length governs. A checksum is not verified, because the
 * whole packet would have to be read for a sum that the balancer never sends.
 */
static __always_inline enum decap_outcome parse_gue(struct cursor *cursor, struct tunnel *tunnel)
{
	struct gue *gue = take(cursor, sizeof(*gue));
	__u32 length;

	if (!gue)
		return PASS_OUTER_CUT_SHORT;
	length = bpf_ntohs(gue->udp.len);
	if (length < sizeof(*gue) || length > tunnel->room)
		return PASS_OUTER_SENSELESS;
	if (gue->udp.check)
		return PASS_GUE_CHECKSUM;
	if (GUE_VARIANT(gue->control))
		return PASS_GUE_VARIANT;
	if (gue->control || gue->flags)
		return PASS_GUE_OPTIONS;
	if (!carries_ip(gue->protocol))
		return PASS_NOT_TUNNEL;

	tunnel->outer_size += sizeof(*gue);
	tunnel->room = length - sizeof(*gue);
	tunnel->inner_v6 = gue->protocol == IPPROTO_IPV6;
	return DECAPSULATE;
}
