/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Reads ICMP messages to a VIP's address. An error quotes the beginning of a
 * packet that a backend has sent in the VIP's name, so the error belongs to that
 * backend: it goes on as a packet of that flow.
 */
#pragma once

#include "answer.h"
#include "dissect.h"
#include "judge.h"

/* The ports: all that is needed of the eight bytes that RFC 792 promises. */
struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline int is_echo_request(const struct packet *pkt, const struct icmp *icmp)
{
	return icmp->type == (pkt->to.v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST) && !icmp->code;
}

/* Not redirects, which are the host's, and not source quench, which RFC 6633 has ended. */
static __always_inline int is_error(const struct packet *pkt, const struct icmp *icmp)
{
	switch (icmp->type) {
	case ICMP_UNREACHABLE:	/* in ICMPv6 time exceeded */
		return 1;
	case ICMPV6_UNREACHABLE:
	case ICMPV6_TOO_BIG:
	case ICMPV6_PARAMETER_PROBLEM:
		return pkt->to.v6;
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETER_PROBLEM:
		return !pkt->to.v6;
	default:
		return 0;
	}
}

/* Makes the packet one of the flow that it is about. What is read of the quote takes the place of what was read of the packet. */
static __always_inline enum outcome unquote(struct xdp_md *ctx, struct packet *pkt, struct headers *ip)
{
	__u32 offset = ip->transport + sizeof(struct icmp);
	__u32 end = pkt->ip_offset + pkt->length;
	struct ports *ports;
	int reading;

	if (pkt->to.v6)
		reading = read_ipv6(ctx, offset, end, ip);
	else
		reading = read_ipv4(ctx, offset, end, ip);
	if (reading != READ || ip->transport > end || ip->fragment == LATER_FRAGMENT)
		return DROP_ICMP_QUOTE;
	if (!same_address(&ip->source, &pkt->to.address))
		return DROP_ICMP_QUOTE;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return PASS_ICMP;
	ports = header_at(ctx, ip->transport, sizeof(*ports));
	if (!ports || ip->transport + sizeof(*ports) > end)
		return DROP_ICMP_QUOTE;

	pkt->ip_headers = ip->transport - pkt->ip_offset; /* up to the quoted ports: for nat, which changes those, too */
	pkt->fragment_bits = ip->fragment_bits;
	pkt->fragment_id = ip->fragment_id;
	pkt->to.protocol = ip->protocol;
	pkt->to.port = ports->source;
	pkt->source = ip->destination;
	pkt->source_port = ports->destination;
	pkt->tcp_flags = TCP_ACK;
	pkt->looking = 1;
	return FORWARD;
}

/* What is not answered for a reason of its own is the host's, whatever its length says. */
static __always_inline int is_answered(struct xdp_md *ctx, const struct packet *pkt, const struct headers *ip,
				       const struct icmp *icmp)
{
	return is_echo_request(pkt, icmp) && ip->plain && is_host(&pkt->source, pkt->to.v6) && !is_to_group(ctx);
}

/* To an address that may be a nat source. Anything but FORWARD says that it is no error about a flow from there. */
static __always_inline enum outcome read_error(struct xdp_md *ctx, struct packet *pkt, struct headers *ip)
{
	struct icmp *icmp = header_at(ctx, ip->transport, sizeof(*icmp));

	if (ip->fragment || !icmp || !is_error(pkt, icmp))
		return PASS_ICMP;
	pkt->least = ip->transport - pkt->ip_offset + sizeof(*icmp);
	pkt->unanswerable = 1;
	return is_true_length(pkt) ? unquote(ctx, pkt, ip) : DROP_BAD_LENGTH;
}

/* FORWARD if the packet goes on as one of the flow that it is about. */
static __always_inline enum outcome read_message(struct xdp_md *ctx, struct packet *pkt, struct headers *ip)
{
	struct icmp *icmp;

	if (!is_vip_address(pkt))
		return nat_is_on() && !read_error(ctx, pkt, ip) ? FORWARD : PASS_NOT_VIP;
	if (ip->fragment)
		return PASS_ICMP;
	icmp = header_at(ctx, ip->transport, sizeof(*icmp));
	if (!icmp)
		return DROP_UNREADABLE;
	pkt->least = ip->transport - pkt->ip_offset + sizeof(*icmp);
	pkt->unanswerable = 1;
	if (is_answered(ctx, pkt, ip, icmp))
		return is_true_length(pkt) ? answer_echo(ctx, pkt) : DROP_BAD_LENGTH;
	if (!is_error(pkt, icmp))
		return PASS_ICMP;
	return is_true_length(pkt) ? unquote(ctx, pkt, ip) : DROP_BAD_LENGTH;
}
