/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What lies between an outer IP header and the inner packet under GUE, as the balancer writes it and the backend reads it. */
#pragma once

#include <linux/types.h>
#include <linux/udp.h>

#define GUE_PORT 6080	/* draft-ietf-intarea-gue-09, section 8.1 */

/*
 * Section 3.1 of the draft, variant 0, without any optional field. The UDP sum
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

#define GUE_VARIANT(control) ((control) >> 6)
