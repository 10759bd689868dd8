/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The other ends that a packet of a connection gets, and the header that has them: its own, or between families another. */
#pragma once

#include "encapsulate.h"
#include "sums.h"

/* How a packet leaves, in either direction. */
struct passage {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 delta;		/* one's complement sum, of what its ends change by */
	__u16 pseudo;		/* that of its addresses and protocol as it came */
	__u16 longest;		/* packet that the way takes */
	__u16 vlan[2];		/* as in struct backend */
	__u8 macs[12];		/* as a frame begins */
	__u8 v6;		/* the family that it leaves in */
	__u8 reserved;
};

static __always_inline __u32 address_sum(const struct address *address, int v6)
{
	__u32 sum = 0;

	for (int i = v6 ? 0 : 3; i < 4; i++)
		sum += (address->word[i] & 0xffff) + (address->word[i] >> 16);
	return sum;
}

/* RFC 1624, of its ends. */
static __always_inline void mend_transport(__sum16 *checksum, const struct passage *passage, int udp)
{
	*checksum = fold((__u16)~*checksum + (__u32)passage->delta);
	if (udp && !*checksum)
		*checksum = 0xffff;
}

static __always_inline __u32 checksum_at(int udp)
{
	return udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check);
}

/* RFC 1624 again, of two addresses and the TTL. */
static __always_inline void rewrite_ipv4(struct iphdr *ip, const struct passage *passage)
{
	__u16 *ttl_and_protocol = (__u16 *)&ip->ttl;
	__u64 sum = (__u16)~ip->check + (__u64)(__u32)~ip->saddr + (__u32)~ip->daddr + (__u16)~*ttl_and_protocol;

	ip->ttl--;
	ip->saddr = passage->source.word[3];
	ip->daddr = passage->destination.word[3];
	sum += (__u64)ip->saddr + ip->daddr + *ttl_and_protocol;
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	ip->check = fold(sum);
}

static __always_inline void rewrite_ipv6(struct ipv6hdr *ip6, const struct passage *passage)
{
	ip6->hop_limit--;
	__builtin_memcpy(&ip6->saddr, &passage->source, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, &passage->destination, sizeof(ip6->daddr));
}

/* The hop limit that a packet came with; 0 where its header is not there. */
static __always_inline __u8 hops_left(struct xdp_md *ctx, const struct packet *pkt)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip = header_at(ctx, pkt->ip_offset, sizeof(*ip));

	if (!pkt->to.v6)
		return ip ? ip->ttl : 0;
	ip6 = header_at(ctx, pkt->ip_offset, sizeof(*ip6));
	return ip6 ? ip6->hop_limit : 0;
}

static __always_inline enum outcome rewrite_header(struct xdp_md *ctx, const struct packet *pkt,
						   const struct passage *passage)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip = header_at(ctx, pkt->ip_offset, sizeof(*ip));

	if (!pkt->to.v6) {
		if (!ip)
			return DROP_BAD_LENGTH;
		rewrite_ipv4(ip, passage);
	} else {
		ip6 = header_at(ctx, pkt->ip_offset, sizeof(*ip6));
		if (!ip6)
			return DROP_BAD_LENGTH;
		rewrite_ipv6(ip6, passage);
	}
	if (pkt->ip_offset != ETH_HLEN && untag(ctx, pkt->ip_offset))
		return DROP_NO_HEADROOM;
	return FORWARD;
}

/* RFC 7915, section 5.1. The options of IPv6 have no counterpart. */
static __always_inline void write_ipv4_instead(struct iphdr *ip, const struct packet *pkt, const struct passage *passage,
					       __u8 ttl, __u16 id, __u16 fragment_bits)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = pkt->tos,
		.tot_len = bpf_htons(sizeof(*ip) + pkt->length - pkt->ip_headers),
		.id = bpf_htons(id),
		.frag_off = bpf_htons(fragment_bits),
		.ttl = ttl,
		.protocol = pkt->to.protocol,
		.saddr = passage->source.word[3],
		.daddr = passage->destination.word[3],
	};
	ip->check = fold(bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));
}

/* RFC 7915, section 4.1. Neither have those of IPv4. */
static __always_inline void write_ipv6_instead(struct ipv6hdr *ip6, const struct packet *pkt,
					       const struct passage *passage, __u8 hops)
{
	*(__be32 *)ip6 = bpf_htonl(6U << 28 | (__u32)pkt->tos << 20);
	ip6->payload_len = bpf_htons(pkt->length - pkt->ip_headers);
	ip6->nexthdr = pkt->to.protocol;
	ip6->hop_limit = hops;
	__builtin_memcpy(&ip6->saddr, &passage->source, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, &passage->destination, sizeof(ip6->daddr));
}

static __always_inline enum outcome leave_by(struct xdp_md *ctx, const struct passage *passage)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return DROP_BAD_LENGTH;
	write_ethernet(frame, passage->macs, passage->v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	return passage->vlan[0] ? tag(ctx, passage->vlan) : FORWARD;
}
