/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Translates an ICMP error about a connection: the message, and the packet that
 * it quotes, both of which are written anew up to the quoted ports. Its source
 * becomes the balancer's end, since routers of one family have no address in the
 * other; path MTU discovery works across (RFC 7915, sections 4.2 to 4.5 and 5.2
 * to 5.5).
 */
#pragma once

#include "icmp.h"
#include "translate.h"
#include "translate_fragment.h"

#define FAMILIES_DIFFER_BY 20	/* bytes of the fixed headers */
#define IPV6_LEAST_MTU 1280	/* RFC 8200, section 5 */

#define ICMP_PROTOCOL_UNREACHABLE 2	/* RFC 792, RFC 1122 */
#define ICMP_PORT_UNREACHABLE 3
#define ICMP_HOST_UNREACHABLE 1
#define ICMP_HOST_PROHIBITED 10
#define ICMPV6_NO_ROUTE 0		/* RFC 4443 */
#define ICMPV6_PROHIBITED 1
#define ICMPV6_PORT_UNREACHABLE 4
#define ICMPV6_UNKNOWN_HEADER 1
#define IPV6_NEXT_HEADER_AT 6

/* What is kept of a message while its headers are written anew. */
struct message {
	struct icmp icmp;
	__u32 id;		/* of the quoted packet, if it is IPv4 or a fragment */
	__u16 length;		/* of the quoted packet behind its headers */
	__u16 fragment_bits;	/* IPv4's, of the quoted packet, which is a fragment if there is more than DF, and then the first */
	__u8 tos;
	__u8 hops;
	__u8 outer_hops;
	__u8 fragment;		/* 1 if the quoted packet is one */
};

static __always_inline void set_message(struct icmp *icmp, __u8 type, __u8 code, __u32 rest)
{
	icmp->type = type;
	icmp->code = code;
	icmp->rest = bpf_htonl(rest);
}

/* RFC 7915, section 4.2. Zero for what has no counterpart. Of a fragment the MTU is told as of a whole packet: shorter ones do no harm. */
static __always_inline int to_icmpv6(struct icmp *icmp)
{
	__u32 mtu = (bpf_ntohl(icmp->rest) & 0xffff) + FAMILIES_DIFFER_BY;

	if (icmp->type == ICMP_TIME_EXCEEDED) {
		set_message(icmp, ICMPV6_TIME_EXCEEDED, icmp->code, 0);
		return 1;
	}
	if (icmp->type != ICMP_UNREACHABLE)
		return 0;
	switch (icmp->code) {
	case ICMP_FRAGMENTATION_NEEDED:
		set_message(icmp, ICMPV6_TOO_BIG, 0, mtu < IPV6_LEAST_MTU ? IPV6_LEAST_MTU : mtu);
		return 1;
	case ICMP_PROTOCOL_UNREACHABLE:
		set_message(icmp, ICMPV6_PARAMETER_PROBLEM, ICMPV6_UNKNOWN_HEADER, IPV6_NEXT_HEADER_AT);
		return 1;
	case ICMP_PORT_UNREACHABLE:
		set_message(icmp, ICMPV6_UNREACHABLE, ICMPV6_PORT_UNREACHABLE, 0);
		return 1;
	case 9 ... 10:	/* prohibited: RFC 1122, section 3.2.2.1, and RFC 1812, section 5.2.7.1 */
	case 13:
	case 15:
		set_message(icmp, ICMPV6_UNREACHABLE, ICMPV6_PROHIBITED, 0);
		return 1;
	case 0 ... 1:
	case 5 ... 8:
	case 11 ... 12:
		set_message(icmp, ICMPV6_UNREACHABLE, ICMPV6_NO_ROUTE, 0);
		return 1;
	default:
		return 0;
	}
}

/* RFC 7915, section 5.2. A fragment becomes longer by its fragment header, too. */
static __always_inline int to_icmp(struct icmp *icmp, int fragment)
{
	__u32 rest = bpf_ntohl(icmp->rest), shorter = FAMILIES_DIFFER_BY + (fragment ? sizeof(struct fragment_header) : 0);

	switch (icmp->type) {
	case ICMPV6_TIME_EXCEEDED:
		set_message(icmp, ICMP_TIME_EXCEEDED, icmp->code, 0);
		return 1;
	case ICMPV6_TOO_BIG:
		if (rest > 0xffff)
			rest = 0xffff;
		set_message(icmp, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED,
			    rest < IPV6_LEAST_MTU ? IPV6_LEAST_MTU - shorter : rest - shorter);
		return 1;
	case ICMPV6_UNREACHABLE:
		if (icmp->code > ICMPV6_PORT_UNREACHABLE)
			return 0;
		set_message(icmp, ICMP_UNREACHABLE,
			    icmp->code == ICMPV6_PORT_UNREACHABLE ? ICMP_PORT_UNREACHABLE :
			    icmp->code == ICMPV6_PROHIBITED ? ICMP_HOST_PROHIBITED : ICMP_HOST_UNREACHABLE, 0);
		return 1;
	case ICMPV6_PARAMETER_PROBLEM:
		if (icmp->code != ICMPV6_UNKNOWN_HEADER)
			return 0;
		set_message(icmp, ICMP_UNREACHABLE, ICMP_PROTOCOL_UNREACHABLE, 0);
		return 1;
	default:
		return 0;
	}
}

static __always_inline __u32 outer_size(const struct packet *pkt)
{
	return pkt->least - sizeof(struct icmp);
}

/* Where the message begins, and where the packet that it quotes does. */
static __always_inline __u32 message_at(const struct packet *pkt)
{
	return pkt->ip_offset + outer_size(pkt);
}

/* A message that was damaged would leave with right checksums, since they are written anew. */
static __always_inline int is_undamaged(struct xdp_md *ctx, const struct packet *pkt)
{
	__u32 length = pkt->length - outer_size(pkt), sum = 0;
	struct ipv6hdr *ip6;

	if (!pkt->to.v6 && !is_undamaged_ipv4(ctx, pkt->ip_offset, outer_size(pkt)))
		return 0;
	if (pkt->to.v6) {
		ip6 = header_at(ctx, pkt->ip_offset, sizeof(*ip6));
		if (!ip6)
			return 0;
		sum = bpf_csum_diff(NULL, 0, (void *)&ip6->saddr, 2 * sizeof(ip6->saddr),
				    bpf_htons(length) + bpf_htons(IPPROTO_ICMPV6));
	}
	return sum_frame(ctx, message_at(pkt), length, sum) == 0xffff;
}

/* Its sender is who the message is for. */
static __noinline int restore_id(struct message *message, const struct passage *passage)
{
	message->id -= id_offset(&passage->destination, passage->v6);
	return 0;
}

static __always_inline int read_quote(struct xdp_md *ctx, const struct packet *pkt, struct message *message)
{
	__u32 at = pkt->ip_offset + pkt->least, headers = pkt->ip_headers - pkt->least;
	struct icmp *icmp = header_at(ctx, message_at(pkt), sizeof(*icmp));
	struct ipv6hdr *ip6;
	struct iphdr *ip = header_at(ctx, at, sizeof(*ip));

	if (!icmp || !ip)
		return 0;
	message->icmp = *icmp;
	message->fragment = !!pkt->fragment_bits;
	if (!pkt->to.v6) {
		message->id = bpf_ntohs(ip->id);
		message->fragment_bits = bpf_ntohs(ip->frag_off);
		message->length = bpf_ntohs(ip->tot_len) - headers;
		message->tos = ip->tos;
		message->hops = ip->ttl;
		return 1;
	}
	ip6 = header_at(ctx, at, sizeof(*ip6));
	if (!ip6)
		return 0;
	message->id = message->fragment ? bpf_ntohl(pkt->fragment_id) : 0;
	message->fragment_bits = message->fragment ? pkt->fragment_bits : DONT_FRAGMENT;
	message->length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len) - headers;
	message->tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
	message->hops = ip6->hop_limit;
	return 1;
}

/* The quoted packet went the other way: the receiver of the message had sent it. */
static __always_inline int rewrite_quoted(struct xdp_md *ctx, const struct packet *pkt, const struct passage *passage)
{
	__u32 at = pkt->ip_offset + pkt->ip_headers, end = pkt->ip_offset + pkt->length;
	__u32 sum_at = at + (pkt->to.protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__be16 *ports = header_at(ctx, at, 2 * sizeof(*ports));
	__sum16 *checksum = header_at(ctx, sum_at, sizeof(*checksum));

	if (!ports)
		return 0;
	ports[0] = passage->destination_port;
	ports[1] = passage->source_port;
	if (!checksum || sum_at + sizeof(*checksum) > end || !*checksum)
		return 1;
	*checksum = fold((__u16)~*checksum + (__u32)passage->delta);
	if (!*checksum && pkt->to.protocol == IPPROTO_UDP) /* as it was sent: RFC 768 */
		*checksum = 0xffff;
	return 1;
}

/* Of the quoted packet, as it leaves. */
static __always_inline __u32 quoted_headers(const struct message *message, const struct passage *passage)
{
	if (message->fragment)
		return headers_leaving(passage);
	return passage->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline void write_quoting_ipv4(struct iphdr *ip, const struct message *message,
					       const struct packet *pkt, const struct passage *passage, int quoted)
{
	__u32 rest = pkt->length - pkt->ip_headers;

	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = quoted ? message->tos : TOS_CONTROL,
		.tot_len = bpf_htons(sizeof(*ip) + (quoted ? message->length : sizeof(struct icmp) + sizeof(*ip) + rest)),
		.id = quoted ? bpf_htons(message->id) : 0,
		.frag_off = bpf_htons(quoted ? message->fragment_bits : DONT_FRAGMENT),
		.ttl = quoted ? message->hops : message->outer_hops,
		.protocol = quoted ? pkt->to.protocol : IPPROTO_ICMP,
		.saddr = quoted ? passage->destination.word[3] : passage->source.word[3],
		.daddr = quoted ? passage->source.word[3] : passage->destination.word[3],
	};
	ip->check = fold(bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));
}

static __always_inline void write_quoting_ipv6(struct ipv6hdr *ip6, const struct message *message,
					       const struct packet *pkt, const struct passage *passage, int quoted)
{
	__u32 rest = pkt->length - pkt->ip_headers;

	*(__be32 *)ip6 = bpf_htonl(6U << 28 | (quoted ? (__u32)message->tos << 20 : 0));
	ip6->payload_len = bpf_htons(quoted ? message->length :
				     sizeof(struct icmp) + quoted_headers(message, passage) + rest);
	ip6->nexthdr = quoted ? pkt->to.protocol : IPPROTO_ICMPV6;
	ip6->hop_limit = quoted ? message->hops : message->outer_hops;
	__builtin_memcpy(&ip6->saddr, quoted ? &passage->destination : &passage->source, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, quoted ? &passage->source : &passage->destination, sizeof(ip6->daddr));
}

/* Behind the quoted header, which has been written. */
static __always_inline int write_quoted_fragment(struct xdp_md *ctx, const struct message *message, const struct packet *pkt)
{
	struct ipv6hdr *ip6 = header_at(ctx, ETH_HLEN + sizeof(*ip6) + sizeof(struct icmp),
					sizeof(*ip6) + sizeof(struct fragment_header));

	if (ip6)
		write_fragment_header(ip6, pkt->to.protocol, message->fragment_bits, message->id);
	return !!ip6;
}

/* Both IP headers and the message between, whose checksum comes last. */
static __always_inline int write_message(struct xdp_md *ctx, const struct message *message, const struct packet *pkt,
					 const struct passage *passage)
{
	__u32 size = passage->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 length = sizeof(struct icmp) + quoted_headers(message, passage) + pkt->length - pkt->ip_headers, sum = 0;
	void *ip = header_at(ctx, ETH_HLEN, 2 * sizeof(struct iphdr) + sizeof(struct icmp));
	struct icmp *icmp;

	if (passage->v6)
		ip = header_at(ctx, ETH_HLEN, 2 * sizeof(struct ipv6hdr) + sizeof(struct icmp));
	if (!ip)
		return 0;
	if (passage->v6) {
		icmp = ip + sizeof(struct ipv6hdr);
		write_quoting_ipv6(ip, message, pkt, passage, 0);
		*icmp = message->icmp;
		icmp->checksum = 0;
		write_quoting_ipv6((void *)(icmp + 1), message, pkt, passage, 1);
		if (message->fragment && !write_quoted_fragment(ctx, message, pkt))
			return 0;
		sum = address_sum(&passage->source, 1) + address_sum(&passage->destination, 1) + bpf_htons(length) +
		      bpf_htons(IPPROTO_ICMPV6);
	} else {
		icmp = ip + sizeof(struct iphdr);
		write_quoting_ipv4(ip, message, pkt, passage, 0);
		*icmp = message->icmp;
		icmp->checksum = 0;
		write_quoting_ipv4((void *)(icmp + 1), message, pkt, passage, 1);
	}
	sum = sum_frame(ctx, ETH_HLEN + size, length, sum);
	icmp = header_at(ctx, ETH_HLEN + size, sizeof(*icmp));
	if (!sum || !icmp)
		return 0;
	icmp->checksum = ~sum;
	return 1;
}

/* For a packet that was read as one of the flow that it is about. */
__noinline enum outcome translate_error(struct xdp_md *ctx, struct packet *pkt, struct passage *passage)
{
	struct message message = {};
	__u32 grown;

	if (!pkt || !passage)
		return DROP_ICMP_QUOTE;
	if (!is_undamaged(ctx, pkt))
		return DROP_BAD_CHECKSUM;
	if (!read_quote(ctx, pkt, &message))
		return DROP_ICMP_QUOTE;
	message.outer_hops = hops_left(ctx, pkt) - 1;
	if (!message.outer_hops || message.outer_hops == 0xff)
		return DROP_TTL;
	if (pkt->to.v6 != passage->v6 && find_obstacle(ctx, pkt, outer_size(pkt)))
		return DROP_NAT_FAMILY;
	if (pkt->to.v6 != passage->v6 && !(passage->v6 ? to_icmpv6(&message.icmp) : to_icmp(&message.icmp, message.fragment)))
		return DROP_NAT_FAMILY;
	if (!rewrite_quoted(ctx, pkt, passage))
		return DROP_ICMP_QUOTE;
	if (message.fragment)
		restore_id(&message, passage);
	grown = (passage->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct icmp) +
		quoted_headers(&message, passage);
	if (pkt->length - pkt->ip_headers + grown > passage->longest)
		return DROP_TOO_BIG;
	if (bpf_xdp_adjust_head(ctx, (int)pkt->ip_offset + pkt->ip_headers - ETH_HLEN - (int)grown))
		return DROP_NO_HEADROOM;
	if (!write_message(ctx, &message, pkt, passage))
		return DROP_ICMP_QUOTE;
	return leave_by(ctx, passage);
}
