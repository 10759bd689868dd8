/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Gives a fragment of a connection its other ends, and between families its other
 * headers: IPv6 says in a header of its own what IPv4 says in its only one (RFC
 * 7915, sections 4.1 and 5.1.1).
 */
#pragma once

#include "counterpart.h"

/*
 * Senders behind one address may use one identification at the same time, and their
 * fragments would be put together (RFC 6864 has whoever changes addresses keep them
 * apart). Each sender's are moved on by an offset of its own, so that they stay as
 * different from one another as they were, and nothing need be remembered.
 */
static __always_inline __u32 id_offset(const struct address *sender, int v6)
{
	return slot_hash(host_sum(sender, v6));
}

static __always_inline __u32 id_number(__be32 id, int v6)
{
	return v6 ? bpf_ntohl(id) : bpf_ntohs(id);
}

/* The sum is of all fragments; what of it is in this one changes it all the same. It is never left to hardware. */
static __always_inline enum outcome rewrite_first(struct xdp_md *ctx, const struct packet *pkt,
						  const struct passage *passage)
{
	__u32 at = pkt->ip_offset + pkt->ip_headers;
	int udp = pkt->to.protocol == IPPROTO_UDP;
	__be16 *ports = header_at(ctx, at, sizeof(struct udphdr));
	__sum16 *checksum = header_at(ctx, at + checksum_at(udp), sizeof(*checksum));

	if (!ports || !checksum)
		return DROP_BAD_LENGTH;
	ports[0] = passage->source_port;
	ports[1] = passage->destination_port;
	if (*checksum || !udp)
		mend_transport(checksum, passage, udp);
	return FORWARD;
}

/* In the header that stays. */
static __always_inline enum outcome rewrite_id(struct xdp_md *ctx, const struct packet *pkt, __u32 id)
{
	struct fragment_header *header;
	struct iphdr *ip = header_at(ctx, pkt->ip_offset, sizeof(*ip));

	if (!pkt->to.v6) {
		if (!ip)
			return DROP_BAD_LENGTH;
		mend(&ip->check, ip->id, bpf_htons(id));
		ip->id = bpf_htons(id);
		return FORWARD;
	}
	header = header_at(ctx, pkt->ip_offset + pkt->fragment_at, sizeof(*header));
	if (!header)
		return DROP_BAD_LENGTH;
	header->id = bpf_htonl(id);
	return FORWARD;
}

/* Behind an IPv6 header that has been written as that of a whole packet. */
static __always_inline void write_fragment_header(struct ipv6hdr *ip6, __u8 next, __u16 bits, __u32 id)
{
	*(struct fragment_header *)(ip6 + 1) = (struct fragment_header){
		.next = next,
		.offset = bpf_htons((bits & IPV4_FRAGMENT_OFFSET) << 3 | (bits & IPV4_MORE_FRAGMENTS ? IPV6_MORE_FRAGMENTS : 0)),
		.id = bpf_htonl(id),
	};
	ip6->nexthdr = IPPROTO_FRAGMENT;
	ip6->payload_len = bpf_htons(bpf_ntohs(ip6->payload_len) + sizeof(struct fragment_header));
}

static __always_inline __u32 headers_leaving(const struct passage *passage)
{
	return passage->v6 ? sizeof(struct ipv6hdr) + sizeof(struct fragment_header) : sizeof(struct iphdr);
}

/* As change_family of translate.h. */
static __always_inline enum outcome change_family_of_fragment(struct xdp_md *ctx, const struct packet *pkt,
							      const struct passage *passage, __u8 hops, __u32 id)
{
	void *ip;

	if (bpf_xdp_adjust_head(ctx, (int)pkt->ip_offset + pkt->ip_headers - ETH_HLEN - (int)headers_leaving(passage)))
		return DROP_NO_HEADROOM;
	ip = header_at(ctx, ETH_HLEN, sizeof(struct ipv6hdr) + sizeof(struct fragment_header));
	if (passage->v6 && ip) {
		write_ipv6_instead(ip, pkt, passage, hops);
		write_fragment_header(ip, pkt->to.protocol, pkt->fragment_bits, id);
		return FORWARD;
	}
	ip = header_at(ctx, ETH_HLEN, sizeof(struct iphdr));
	if (passage->v6 || !ip)
		return DROP_BAD_LENGTH;
	write_ipv4_instead(ip, pkt, passage, hops, id, pkt->fragment_bits);
	return FORWARD;
}

/* Not inlined, and looked at by the verifier once, as translate. */
__noinline enum outcome translate_fragment(struct xdp_md *ctx, struct packet *pkt, struct passage *passage)
{
	enum outcome result = FORWARD;
	__u32 longest, id;
	__u8 hops;

	if (!pkt || !passage)
		return DROP_NO_CONNECTION;
	if (pkt->to.v6 < passage->v6 && !is_undamaged_ipv4(ctx, pkt->ip_offset, pkt->ip_headers))
		return DROP_BAD_CHECKSUM;
	longest = passage->longest;
	if (pkt->to.v6 != passage->v6)
		longest += pkt->ip_headers - headers_leaving(passage);
	if (pkt->length > longest)
		return too_big(ctx, pkt, longest);
	hops = hops_left(ctx, pkt);
	if (hops <= 1)
		return DROP_TTL;
	if (!has_counterpart(ctx, pkt, passage))
		return DROP_NAT_FAMILY;
	if (pkt->to.v6 != passage->v6 && (result = leave_out(ctx, pkt)))
		return result;
	id = id_number(pkt->fragment_id, pkt->to.v6) + id_offset(&pkt->source, pkt->to.v6);
	if (pkt->fragment == FIRST_FRAGMENT && (result = rewrite_first(ctx, pkt, passage)))
		return result;
	if (pkt->to.v6 != passage->v6)
		result = change_family_of_fragment(ctx, pkt, passage, hops - 1, id);
	else if (!(result = rewrite_id(ctx, pkt, id)))
		result = rewrite_header(ctx, pkt, passage);
	return result ? result : leave_by(ctx, passage);
}
