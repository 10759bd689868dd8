/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What lies between an outer IP header and the inner packet under GUE, as the balancer writes it and the backend reads it. */
#pragma once

#include <linux/types.h>
#include <linux/udp.h>

#define GUE_PORT 6080	/* draft-ietf-intarea-gue-09, section 8.1 */

/*
 * Section 3.1 of the draft, variant 0, without any extension field. The UDP sum
 * stays zero: over IPv4 by RFC 768; over IPv6 by RFC 6935, since what a damaged
 * outer header could do is prevented by the inner sums and by the backend's list
 * of balancers (RFC 6936, section 4).
 */
struct gue {
	struct udphdr udp;
	__u8 control;		/* variant in the upper two bits, then whether it is a control message, then words of options */
	__u8 protocol;		/* of the inner packet */
	__be16 flags;		/* which options there are */
};

#define GUE_ONE_WORD 1	/* of struct gue.control: variant 0, one word behind the header */
#define GUE_NAMES_PORT 0x706d

/*
 * Private data (section 3.4 of the draft: a header length beyond what the flags
 * account for), where an instance listens on another port than the VIP's. The
 * kernel's own device skips it, and so would deliver to the VIP's port.
 */
struct gue_port {
	__be16 kind;		/* GUE_NAMES_PORT, so that nobody else's private data is taken for ours */
	__be16 port;		/* the instance's */
};

#define GUE_VARIANT(control) ((control) >> 6)
