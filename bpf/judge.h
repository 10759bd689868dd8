/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Judges a packet that is for a VIP: its lengths, one of which is copied to an outer header, and TCP's flags. */
#pragma once

#include "packet.h"

#define TCP_FLAGS 0x1f	/* FIN, SYN, RST, PSH, ACK */

/*
 * A bit for each combination of these flags that a segment can have. Not those
 * without SYN, ACK, FIN and RST, and not SYN with FIN or RST: the low three bits
 * are one of 1, 2, 4 and 5, or none but ACK.
 */
#define POSSIBLE_FLAGS 0x37373636U

/* Bytes behind the packet are Ethernet's padding, and no lie. */
static __always_inline int is_true_length(const struct packet *pkt)
{
	return pkt->length >= pkt->least && pkt->length <= pkt->room;
}

static __always_inline enum outcome judge(const struct packet *pkt)
{
	if (!is_true_length(pkt))
		return DROP_BAD_LENGTH;
	if (!(POSSIBLE_FLAGS >> (pkt->tcp_flags & TCP_FLAGS) & 1))
		return DROP_BAD_FLAGS;
	return FORWARD;
}
