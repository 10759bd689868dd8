/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Gives a packet of a connection its other ends, and between families its other
 * header (RFC 7915). Checksums change by what is added (RFC 1624): a damaged
 * packet stays damaged. Only those that are not there yet are summed up.
 */
#pragma once

#include "counterpart.h"

/* For a checksum that is not there, or whose field has only what its sum begins with. The field is zero by now. */
static __always_inline __u32 sum_up_transport(struct xdp_md *ctx, const struct packet *pkt,
					      const struct passage *passage, __u32 length)
{
	__u32 sum = address_sum(&passage->source, passage->v6) + address_sum(&passage->destination, passage->v6);

	sum += bpf_htons(pkt->to.protocol) + bpf_htons(length);
	return sum_frame(ctx, pkt->ip_offset + pkt->ip_headers, length, sum);
}

/*
 * Of a packet from a socket behind a virtual device the sum may still be left to
 * hardware: the field has the folded sum of the pseudo header. A right sum that
 * is the same by chance is summed up to itself.
 */
static __always_inline int is_pending(__sum16 checksum, const struct passage *passage, __u32 length)
{
	return checksum == fold_up((__u32)passage->pseudo + bpf_htons(length));
}

/* Ports and checksum. The pointers are read again after the sum: it is a call. */
static __always_inline enum outcome rewrite_transport(struct xdp_md *ctx, const struct packet *pkt,
						      const struct passage *passage)
{
	__u32 at = pkt->ip_offset + pkt->ip_headers, length = pkt->length - pkt->ip_headers, sum;
	int udp = pkt->to.protocol == IPPROTO_UDP;
	__be16 *ports = header_at(ctx, at, sizeof(struct udphdr));
	__sum16 *checksum = header_at(ctx, at + checksum_at(udp), sizeof(*checksum));

	if (!ports || !checksum)
		return DROP_BAD_LENGTH;
	ports[0] = passage->source_port;
	ports[1] = passage->destination_port;
	if (udp)
		length = bpf_ntohs(ports[2]);
	if (udp && !*checksum && (pkt->to.v6 || !passage->v6))
		return FORWARD;	/* RFC 768: there is none. RFC 8200, section 8.1: over IPv6 there must be */
	if ((*checksum || !udp) && !is_pending(*checksum, passage, length)) {
		mend_transport(checksum, passage, udp);
		return FORWARD;
	}
	*checksum = 0;
	sum = sum_up_transport(ctx, pkt, passage, length);
	checksum = header_at(ctx, at + checksum_at(udp), sizeof(*checksum));
	if (!sum || !checksum)
		return DROP_BAD_LENGTH;
	*checksum = ~sum;
	if (udp && !*checksum)
		*checksum = 0xffff;
	return FORWARD;
}

#define FRAGMENTED_FROM 1260	/* RFC 7915, section 5.1: with a longer IPv4 packet its IPv6 sender can do something about "too big" */

/* The new header ends where the old one did; tags go with the old one. */
static __always_inline enum outcome change_family(struct xdp_md *ctx, const struct packet *pkt,
						  const struct passage *passage, __u8 hops)
{
	__u32 size = passage->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	void *ip;

	if (bpf_xdp_adjust_head(ctx, (int)pkt->ip_offset + pkt->ip_headers - ETH_HLEN - (int)size))
		return DROP_NO_HEADROOM;
	ip = header_at(ctx, ETH_HLEN, sizeof(struct ipv6hdr));
	if (passage->v6 && ip) {
		write_ipv6_instead(ip, pkt, passage, hops);
		return FORWARD;
	}
	ip = header_at(ctx, ETH_HLEN, sizeof(struct iphdr));
	if (passage->v6 || !ip)
		return DROP_BAD_LENGTH;
	if (sizeof(struct iphdr) + pkt->length - pkt->ip_headers > FRAGMENTED_FROM)
		write_ipv4_instead(ip, pkt, passage, hops, 0, DONT_FRAGMENT);
	else
		write_ipv4_instead(ip, pkt, passage, hops, bpf_get_prandom_u32(), 0);
	return FORWARD;
}

/* The longest packet that may come, by the longest that may leave. */
static __always_inline __u32 longest_coming(const struct packet *pkt, const struct passage *passage)
{
	__u32 leaving = passage->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (passage->v6 == pkt->to.v6)
		return passage->longest;
	return (__u32)passage->longest + pkt->ip_headers - leaving;
}

/* Not inlined, and looked at by the verifier once. Older pointers into the packet are void after it. */
__noinline enum outcome translate(struct xdp_md *ctx, struct packet *pkt, struct passage *passage)
{
	enum outcome result;
	__u32 longest;
	__u8 hops;

	if (!pkt || !passage)
		return DROP_NO_CONNECTION;
	if (pkt->to.v6 < passage->v6 && !is_undamaged_ipv4(ctx, pkt->ip_offset, pkt->ip_headers))
		return DROP_BAD_CHECKSUM;
	longest = longest_coming(pkt, passage);
	if (pkt->length > longest)
		return too_big(ctx, pkt, longest);
	hops = hops_left(ctx, pkt);
	if (hops <= 1)
		return DROP_TTL;
	if (pkt->to.v6 != passage->v6 && (result = leave_out(ctx, pkt)))
		return result;
	if ((result = rewrite_transport(ctx, pkt, passage)))
		return result;
	if (pkt->to.v6 == passage->v6)
		result = rewrite_header(ctx, pkt, passage);
	else
		result = change_family(ctx, pkt, passage, hops - 1);
	return result ? result : leave_by(ctx, passage);
}
