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

/* Nothing behind the header, or the instance's port. */
static __always_inline enum decap_outcome parse_gue_options(struct cursor *cursor, const struct gue *gue,
							    struct tunnel *tunnel)
{
	struct gue_port *named;

	if (!gue->control && !gue->flags)
		return DECAPSULATE;
	named = take(cursor, sizeof(*named));
	if (gue->control != GUE_ONE_WORD || gue->flags || !named || tunnel->room < sizeof(*named) ||
	    named->kind != bpf_htons(GUE_NAMES_PORT) || !named->port)
		return PASS_GUE_OPTIONS;
	tunnel->named = named->port;
	tunnel->outer_size += sizeof(*named);
	tunnel->room -= sizeof(*named);
	return DECAPSULATE;
}

/*
 * From here on the UDP length governs. A checksum is not verified, because the
 * whole packet would have to be read for a sum that the balancer never sends.
 */
static __always_inline enum decap_outcome parse_gue(struct cursor *cursor, struct tunnel *tunnel)
{
	struct gue *gue = take(cursor, sizeof(*gue));
	enum decap_outcome result;
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
	tunnel->outer_size += sizeof(*gue);
	tunnel->room = length - sizeof(*gue);
	if ((result = parse_gue_options(cursor, gue, tunnel)))
		return result;
	if (!carries_ip(gue->protocol))
		return PASS_NOT_TUNNEL;
	tunnel->inner_v6 = gue->protocol == IPPROTO_IPV6;
	return DECAPSULATE;
}
