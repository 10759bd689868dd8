/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads an IP header with its options or extension headers, wherever in the
 * frame it stands: that of the packet, or one that an ICMP error quotes. The
 * functions are global, so that the verifier looks at each once, on its own.
 */
#pragma once

#include "extensions.h"
#include "packet.h"

enum fragment {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT,
};

enum reading {
	READ,
	CUT_SHORT,	/* the addresses are read, but not what follows the IP headers */
	SENSELESS,	/* nothing in it can be trusted */
};

struct headers {
	struct address source;
	struct address destination;
	__u32 transport;	/* where in the frame the IP headers end; may be beyond its end */
	__u32 length;		/* of the IP packet, as its header says */
	__u32 fragment_id;	/* as in struct packet, like the next two */
	__u16 fragment_bits;
	__u16 fragment_at;	/* in the frame */
	__u8 fragment;		/* enum fragment */
	__u8 protocol;		/* of what follows */
	__u8 plain;		/* 1 without options or extension headers */
	__u8 tos;
};

#define OFFSET_MAX 0x3fff	/* of a header in a frame: far beyond any frame, and what the verifier can follow */
#define EXTENSION_HEADER_LEAST 8

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_FRAGMENT_OFFSET 0xfff8

/* RFC 8200, section 4.5. linux/ipv6.h has none. */
struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* What stands at an offset, NULL if the frame ends before its end. */
static __always_inline void *header_at(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *header = (void *)(long)ctx->data;

	if (offset > OFFSET_MAX)
		return NULL;
	header += offset;
	return header + size > (void *)(long)ctx->data_end ? NULL : header;
}

static __always_inline __u8 fragment_of(int more, int later)
{
	return later ? LATER_FRAGMENT : more ? FIRST_FRAGMENT : WHOLE;
}

/* What the IPv4 header at an offset says; bytes from end on are not its packet's. */
__noinline int read_ipv4(struct xdp_md *ctx, __u32 offset, __u32 end, struct headers *read)
{
	struct iphdr *ip = header_at(ctx, offset, sizeof(*ip));
	__u32 bits;

	if (!read || !ip || offset + sizeof(*ip) > end || ip->version != 4 || ip->ihl < 5)
		return SENSELESS;
	bits = bpf_ntohs(ip->frag_off);
	*read = (struct headers){
		.source.word = { 0, 0, bpf_htonl(0xffff), ip->saddr },
		.destination.word = { 0, 0, bpf_htonl(0xffff), ip->daddr },
		.transport = offset + ip->ihl * 4,
		.length = bpf_ntohs(ip->tot_len),
		.fragment_id = ip->id,
		.fragment_bits = bits & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET),
		.fragment = fragment_of(bits & IPV4_MORE_FRAGMENTS, bits & IPV4_FRAGMENT_OFFSET),
		.protocol = ip->protocol,
		.plain = ip->ihl == 5,
		.tos = ip->tos,
	};
	return READ;
}

/* For where IPv6 keeps what IPv4 has in its header. */
static __always_inline void read_fragment_header(struct headers *read, const struct fragment_header *header)
{
	__u32 bits = bpf_ntohs(header->offset);

	read->fragment_at = read->transport;
	read->fragment_id = header->id;
	read->fragment_bits = bits >> 3 | (bits & IPV6_MORE_FRAGMENTS ? IPV4_MORE_FRAGMENTS : 0);
	read->fragment = fragment_of(bits & IPV6_MORE_FRAGMENTS, bits & IPV6_FRAGMENT_OFFSET);
}

/* Follows extension headers, not behind that of a later fragment: data comes there. */
static __always_inline int follow_extensions(struct xdp_md *ctx, __u32 end, struct headers *read)
{
	/* Unrolled: Linux 6.1 refuses a loop whose end falls through to its head, as clang lays this one out. */
#pragma unroll
	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		struct fragment_header *header;
		__u8 protocol = read->protocol;

		if (!extension_size(protocol, 0))
			return READ;
		header = header_at(ctx, read->transport, sizeof(*header));
		if (i == EXTENSION_HEADERS_MAX || !header || read->transport + EXTENSION_HEADER_LEAST > end)
			return CUT_SHORT;
		read->plain = 0;
		read->protocol = header->next;
		if (protocol == IPPROTO_FRAGMENT)
			read_fragment_header(read, header);
		read->transport += extension_size(protocol, header->reserved);
		if (read->fragment == LATER_FRAGMENT)
			return READ;
	}
	return CUT_SHORT;
}

/* The same of an IPv6 header. */
__noinline int read_ipv6(struct xdp_md *ctx, __u32 offset, __u32 end, struct headers *read)
{
	struct ipv6hdr *ip6 = header_at(ctx, offset, sizeof(*ip6));

	if (!read || !ip6 || offset + sizeof(*ip6) > end || ip6->version != 6)
		return SENSELESS;
	*read = (struct headers){
		.transport = offset + sizeof(*ip6),
		.length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len),
		.protocol = ip6->nexthdr,
		.plain = 1,
		.tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4,
	};
	__builtin_memcpy(&read->source, &ip6->saddr, sizeof(read->source));
	__builtin_memcpy(&read->destination, &ip6->daddr, sizeof(read->destination));
	return follow_extensions(ctx, end, read);
}
