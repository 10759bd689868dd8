/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Finds the port of a VIP in a packet: its own, or, in an ICMP error, that of
 * the packet which the error quotes.
 */
#pragma once

#include "decap_frame.h"
#include "extensions.h"
#include "icmp.h"

/* To the client's packets the VIP is the destination, to the backend's the source. */
enum way {
	INWARDS,
	OUTWARDS,
};

enum finding {
	FOUND,
	NO_PORT,	/* ICMP but errors, a fragment but the first, another protocol */
	UNREADABLE,	/* the packet ends before its port */
};

struct ip {
	struct address source;
	struct address destination;
	__u32 transport;	/* where in the frame the IP headers end */
	__u32 end;		/* of the packet, as its header says */
	__u8 protocol;
	__u8 later;		/* 1 for a fragment but the first */
};

/* Where the port is, and the sums that cover it. */
struct spot {
	struct decap_port key;
	__u32 port;
	__u32 sum;		/* the transport's; 0 where a quote ends before it */
	__u32 icmp_sum;		/* that of the error which quotes; 0 where it is no quote */
};

static __always_inline int read_ipv4(void *ctx, enum hook hook, __u32 at, struct ip *ip)
{
	struct iphdr header;

	if (read_at(ctx, hook, at, &header, sizeof(header)) || header.version != 4 || header.ihl < 5)
		return -1;
	*ip = (struct ip){
		.source.word = { 0, 0, bpf_htonl(0xffff), header.saddr },
		.destination.word = { 0, 0, bpf_htonl(0xffff), header.daddr },
		.transport = at + header.ihl * 4,
		.end = at + bpf_ntohs(header.tot_len),
		.protocol = header.protocol,
		.later = !!(header.frag_off & bpf_htons(0x1fff)), /* RFC 791: fragment offset */
	};
	return 0;
}

/* As many as the balancer follows. Unrolled: Linux 6.1 refuses a loop whose end falls through to its head. */
static __always_inline int follow_extensions(void *ctx, enum hook hook, struct ip *ip)
{
#pragma unroll
	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		__u8 header[8]; /* all have at least so many */
		__u8 protocol = ip->protocol;

		if (!extension_size(protocol, 0))
			return 0;
		if (i == EXTENSION_HEADERS_MAX || read_at(ctx, hook, ip->transport, header, sizeof(header)))
			return -1;
		ip->protocol = header[0];
		ip->transport += extension_size(protocol, header[1]);
		/* RFC 8200, section 4.5: the offset is the upper 13 bits. */
		if (protocol == IPPROTO_FRAGMENT && (header[2] || header[3] & 0xf8)) {
			ip->later = 1;
			return 0;
		}
	}
	return -1;
}

static __always_inline int read_ipv6(void *ctx, enum hook hook, __u32 at, struct ip *ip)
{
	struct ipv6hdr header;

	if (read_at(ctx, hook, at, &header, sizeof(header)) || header.version != 6)
		return -1;
	*ip = (struct ip){
		.transport = at + sizeof(header),
		.end = at + sizeof(header) + bpf_ntohs(header.payload_len),
		.protocol = header.nexthdr,
	};
	__builtin_memcpy(&ip->source, &header.saddr, sizeof(ip->source));
	__builtin_memcpy(&ip->destination, &header.daddr, sizeof(ip->destination));
	return follow_extensions(ctx, hook, ip);
}

static __always_inline int read_ip(void *ctx, enum hook hook, __u32 at, int v6, struct ip *ip)
{
	return v6 ? read_ipv6(ctx, hook, at, ip) : read_ipv4(ctx, hook, at, ip);
}

static __always_inline int is_icmp(const struct ip *ip, int v6)
{
	return ip->protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Those that a TCP or UDP packet can call forth, as the balancer has it. */
static __always_inline int is_error(__u8 type, int v6)
{
	if (v6)
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM;
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/* source says which of the two ports is the VIP's. */
static __always_inline enum finding find_in(void *ctx, enum hook hook, const struct ip *ip, int v6, int source,
					    struct spot *spot)
{
	if (ip->later || (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP))
		return NO_PORT;
	spot->port = ip->transport + (source ? offsetof(struct udphdr, source) : offsetof(struct udphdr, dest));
	spot->sum = ip->transport +
		    (ip->protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	spot->key.address = source ? ip->source : ip->destination;
	spot->key.protocol = ip->protocol;
	spot->key.v6 = v6;
	return read_at(ctx, hook, spot->port, &spot->key.port, sizeof(spot->key.port)) ? UNREADABLE : FOUND;
}

/* What is wrong with a quote is the receiver's to judge: then the error stays as it is. */
static __always_inline enum finding find_quoted(void *ctx, enum hook hook, const struct ip *error, int v6,
						int source, struct spot *spot)
{
	struct icmp icmp;
	struct ip quoted;

	if (error->later || read_at(ctx, hook, error->transport, &icmp, sizeof(icmp)) || !is_error(icmp.type, v6))
		return NO_PORT;
	if (read_ip(ctx, hook, error->transport + sizeof(icmp), v6, &quoted))
		return NO_PORT;
	if (find_in(ctx, hook, &quoted, v6, source, spot) || spot->port + sizeof(spot->key.port) > error->end)
		return NO_PORT;
	if (spot->sum + sizeof(__sum16) > error->end)
		spot->sum = 0;
	spot->icmp_sum = error->transport + offsetof(struct icmp, checksum);
	return FOUND;
}

static __always_inline enum finding find_port(void *ctx, enum hook hook, const struct ip *ip, int v6, enum way way,
					      struct spot *spot)
{
	enum finding finding;

	if (is_icmp(ip, v6)) /* what it quotes went the other way */
		return find_quoted(ctx, hook, ip, v6, way == INWARDS, spot);
	finding = find_in(ctx, hook, ip, v6, way == OUTWARDS, spot);
	if (finding == FOUND && spot->sum + sizeof(__sum16) > ip->end && ip->end > ip->transport)
		return UNREADABLE;
	return finding;
}
