/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Answers a packet with an ICMP error, in its place. */
#pragma once

#include "checksum.h"
#include "flows.h"
#include "headers.h"
#include "icmp.h"
#include "packet.h"

/* Written and read here, a value a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct error_budget);
	__uint(max_entries, 1);
} error_budget SEC(".maps");

/* The longest quotes: RFC 1812, section 4.3.2.3 (576 bytes in all); RFC 4443, section 2.4 (c) (1280 bytes in all). */
#define QUOTE_IPV4 (576 - sizeof(struct iphdr) - sizeof(struct icmp))
#define QUOTE_IPV6 (1280 - sizeof(struct ipv6hdr) - sizeof(struct icmp))

#define TOS_CONTROL 0xc0	/* internetwork control: RFC 1812, section 4.3.2.5 */
#define DONT_FRAGMENT 0x4000	/* RFC 791 */
#define ETH_TAGS 8		/* the most that tags take: two */

/* What there is to know of the packet. Not struct packet itself: what is called with an address stays out of registers. */
struct refused {
	struct address source;
	struct address vip;
	__u32 rest;		/* of the error, as its type and code */
	__u16 length;		/* of the packet */
	__u8 type;
	__u8 code;
	__u8 ip_offset;
	__u8 v6;
	__u8 told;		/* enum outcome, if the error leaves, */
	__u8 untold;		/* and if there is nobody to tell, or more than may be told in a second */
};

static __always_inline int within_budget(void)
{
	__u32 now = now_seconds(), zero = 0;
	struct error_budget *budget = bpf_map_lookup_elem(&error_budget, &zero);

	if (!budget)
		return 0;
	if (budget->second != now)
		*budget = (struct error_budget){ .second = now };
	if (budget->sent >= config.errors_per_second)
		return 0;
	budget->sent++;
	return 1;
}

/*
 * RFC 1071, over bytes of the packet whose number is a multiple of four. The
 * helper takes 512 at most, and only as many as the verifier can see, hence the
 * powers of two.
 */
static __always_inline __u32 sum_up(void *at, void *end, __u32 bytes, __u32 sum)
{
#pragma unroll
	for (__u32 size = 1024; size >= 4; size /= 2) {
		if (!(bytes & size))
			continue;
#pragma unroll
		for (__u32 done = 0; done < size; done += 512) {
			__u32 part = size < 512 ? size : 512;

			if (at + part > end)
				return 0;
			sum = bpf_csum_diff(NULL, 0, at, part, sum);
			at += part;
		}
	}
	return sum;
}

/*
 * Makes room for headers in front of the IP packet, of which quote bytes stay,
 * and turns the Ethernet header around, tags and all. NULL if the driver has no
 * room.
 */
static __always_inline void *turn_around(struct xdp_md *ctx, const struct refused *pkt, __u32 headers, __u32 quote)
{
	__u32 size = ctx->data_end - ctx->data;
	void *frame, *end, *old;

	if (bpf_xdp_adjust_tail(ctx, (int)(pkt->ip_offset + quote - size)) || bpf_xdp_adjust_head(ctx, -(int)headers))
		return NULL;
	frame = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	old = frame + headers;
	if (old + ETH_HLEN + ETH_TAGS > end)
		return NULL;
	__builtin_memcpy(frame, old + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(frame + ETH_ALEN, old, ETH_ALEN);
	*(__be16 *)(frame + 12) = *(__be16 *)(old + 12);
	if (pkt->ip_offset > ETH_HLEN)
		__builtin_memcpy(frame + 14, old + 14, 4);
	if (pkt->ip_offset > ETH_HLEN + 4)
		__builtin_memcpy(frame + 18, old + 18, 4);
	return frame + pkt->ip_offset;
}

/* RFC 792. From where the packet was to, which the sender knows and its filters let pass. */
static __always_inline int refuse_ipv4(struct xdp_md *ctx, const struct refused *pkt)
{
	__u32 quote = (pkt->length < QUOTE_IPV4 ? pkt->length : QUOTE_IPV4) & ~3;
	struct iphdr *ip = turn_around(ctx, pkt, sizeof(*ip) + sizeof(struct icmp), quote);
	void *end = (void *)(long)ctx->data_end;
	struct icmp *icmp = (void *)(ip + 1);

	if (!ip || (void *)(icmp + 1) > end)
		return 0;
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = TOS_CONTROL,
		.tot_len = bpf_htons(sizeof(*ip) + sizeof(*icmp) + quote),
		.frag_off = bpf_htons(DONT_FRAGMENT),
		.ttl = 64,
		.protocol = IPPROTO_ICMP,
		.saddr = pkt->vip.word[3],
		.daddr = pkt->source.word[3],
	};
	ip->check = fold(bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));
	*icmp = (struct icmp){
		.type = pkt->type,
		.code = pkt->code,
		.rest = bpf_htonl(pkt->rest),
	};
	icmp->checksum = fold(sum_up(icmp, end, sizeof(*icmp) + quote, 0));
	return 1;
}

/* RFC 4443, section 3. */
static __always_inline int refuse_ipv6(struct xdp_md *ctx, const struct refused *pkt)
{
	__u32 quote = (pkt->length < QUOTE_IPV6 ? pkt->length : QUOTE_IPV6) & ~3;
	struct ipv6hdr *ip6 = turn_around(ctx, pkt, sizeof(*ip6) + sizeof(struct icmp), quote);
	void *end = (void *)(long)ctx->data_end;
	struct icmp *icmp = (void *)(ip6 + 1);
	__u32 sum;

	if (!ip6 || (void *)(icmp + 1) > end)
		return 0;
	*(__be32 *)ip6 = bpf_htonl(6U << 28);
	ip6->payload_len = bpf_htons(sizeof(*icmp) + quote);
	ip6->nexthdr = IPPROTO_ICMPV6;
	ip6->hop_limit = 64;
	__builtin_memcpy(&ip6->saddr, &pkt->vip, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, &pkt->source, sizeof(ip6->daddr));
	*icmp = (struct icmp){
		.type = pkt->type,
		.code = pkt->code,
		.rest = bpf_htonl(pkt->rest),
	};
	/* The pseudo header: both addresses, the length, the protocol. */
	sum = bpf_htons(sizeof(*icmp) + quote) + bpf_htons(IPPROTO_ICMPV6);
	sum = bpf_csum_diff(NULL, 0, (void *)&ip6->saddr, 2 * sizeof(ip6->saddr), sum);
	icmp->checksum = fold(sum_up(icmp, end, sizeof(*icmp) + quote, sum));
	return 1;
}

/* Looked at by the verifier once. What the packet was is lost if the error leaves. */
__noinline enum outcome refuse(struct xdp_md *ctx, struct refused *pkt)
{
	__u8 *frame = (void *)(long)ctx->data;

	if (!pkt || (void *)frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return DROP_TOO_BIG;
	/* RFC 1122, section 3.2.2: none for what came to many hosts at once. */
	if (frame[0] & 1 || !is_host(&pkt->source, pkt->v6) || !within_budget())
		return pkt->untold;
	return (pkt->v6 ? refuse_ipv6(ctx, pkt) : refuse_ipv4(ctx, pkt)) ? pkt->told : DROP_NO_HEADROOM;
}
