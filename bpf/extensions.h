/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* IPv6's extension headers, on the balancer and on backends. */
#pragma once

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/types.h>

#define EXTENSION_HEADERS_MAX 6
#define FRAGMENT_HEADER_SIZE 8

/* RFC 8200, section 4; RFC 4302, section 2.2, counts in words of four. Zero if it is no extension header. */
static __always_inline __u32 extension_size(__u8 protocol, __u8 length)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return (length + 1) * 8;
	case IPPROTO_AH:
		return (length + 2) * 4;
	case IPPROTO_FRAGMENT:
		return FRAGMENT_HEADER_SIZE;
	default:
		return 0;
	}
}
