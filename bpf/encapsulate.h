/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Puts a packet on its way to a backend: an outer header, or a new MAC only.
 * The client's packet itself is never changed, its TTL included: the balancer
 * stands for the host that holds the VIP, it does not route beyond it.
 */
#pragma once

#include "gue.h"
#include "tags.h"
#include "too_big.h"

#define OUTER_TTL 64	/* RFC 1700's default; in Go it is part of backend.outer_checksum */

/* Both MACs and the type. The MACs lie side by side in a backend as in the frame: twelve bytes in two moves. */
static __always_inline void write_ethernet(void *frame, const void *macs, __be16 type)
{
	*(__u64 *)frame = *(const __u64 *)macs;
	*(__u32 *)(frame + 8) = *(const __u32 *)(macs + 8);
	*(__be16 *)(frame + 12) = type;
}

static __always_inline enum outcome rewrite_macs(struct xdp_md *ctx, const struct packet *pkt,
						 const struct backend *backend)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return DROP_BAD_LENGTH;
	write_ethernet(frame, backend->next_hop_mac, bpf_htons(pkt->to.v6 ? ETH_P_IPV6 : ETH_P_IP));
	return FORWARD;
}

/* RFC 1071, from the part of the sum that the control plane has prepared. */
static __always_inline __be16 outer_checksum(const struct backend *backend, __u32 length, __u8 tos, __u8 protocol)
{
	__u32 sum = backend->outer_checksum + length + tos + protocol;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return bpf_htons(~sum & 0xffff);
}

/* Grows the packet at its front; NULL if there is no room. Older pointers into the packet are void after it. */
static __always_inline void *prepend(struct xdp_md *ctx, __u32 size)
{
	void *frame;

	if (bpf_xdp_adjust_head(ctx, -(int)size))
		return NULL;
	frame = (void *)(long)ctx->data;
	if (frame + ETH_HLEN + size > (void *)(long)ctx->data_end)
		return NULL;
	return frame;
}

static __always_inline __u8 inner_protocol(const struct packet *pkt)
{
	return pkt->to.v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

/*
 * RFC 2003 and RFC 4213. DF is always set, so that the identification may stay
 * zero (RFC 6864, section 4.1) and nothing fragments the tunnel. DSCP and ECN
 * are copied (RFC 2983's uniform model, RFC 6040's normal mode).
 */
static __always_inline void write_ipv4(struct iphdr *outer, const struct packet *pkt, const struct backend *backend,
				       __u32 length, __u8 protocol)
{
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = pkt->tos,
		.tot_len = bpf_htons(length),
		.id = 0,
		.frag_off = bpf_htons(0x4000),
		.ttl = OUTER_TTL,
		.protocol = protocol,
		.check = outer_checksum(backend, length, pkt->tos, protocol),
		.saddr = backend->source.word[3],
		.daddr = backend->destination.word[3],
	};
}

/* The first word of an IPv6 header: version, traffic class, and a flow label that carries the entropy (RFC 6438). */
static __always_inline __be32 version_class_label(const struct packet *pkt)
{
	return bpf_htonl(6U << 28 | (__u32)pkt->tos << 20 | (pkt->entropy & 0xfffff));
}

/* RFC 2473, without its encapsulation limit option: a backend is the end of the tunnel. */
static __always_inline void write_ipv6(struct ipv6hdr *outer, const struct packet *pkt, const struct backend *backend,
				       __u32 payload, __u8 next)
{
	*(__be32 *)outer = version_class_label(pkt);
	outer->payload_len = bpf_htons(payload);
	outer->nexthdr = next;
	outer->hop_limit = OUTER_TTL;
	__builtin_memcpy(&outer->saddr, &backend->source, sizeof(outer->saddr));
	__builtin_memcpy(&outer->daddr, &backend->destination, sizeof(outer->daddr));
}

/* The source port, in the range of ephemeral ones (RFC 6335, section 6), tells flows apart to switches and NICs. */
static __always_inline void write_gue(struct gue *gue, const struct packet *pkt, __u32 size)
{
	*gue = (struct gue){
		.udp.source = bpf_htons(0xc000 | (pkt->entropy & 0x3fff)),
		.udp.dest = bpf_htons(GUE_PORT),
		.udp.len = bpf_htons(size + pkt->length),
		.control = size > sizeof(*gue) ? GUE_ONE_WORD : 0,
		.protocol = inner_protocol(pkt),
	};
}

static __always_inline void write_gue_port(struct gue_port *named, const struct backend *backend)
{
	*named = (struct gue_port){ .kind = bpf_htons(GUE_NAMES_PORT), .port = backend->port };
}

/* size is of all that follows the outer IP header, and known when compiling: 0 is IP in IP. */
static __always_inline void write_shim(void *shim, const struct packet *pkt, const struct backend *backend, __u32 size)
{
	if (size)
		write_gue(shim, pkt, size);
	if (size > sizeof(struct gue))
		write_gue_port(shim + sizeof(struct gue), backend);
}

static __always_inline enum outcome encapsulate_in_ipv4(struct xdp_md *ctx, const struct packet *pkt,
							const struct backend *backend, __u32 shim)
{
	__u32 size = sizeof(struct iphdr) + shim;
	void *frame = prepend(ctx, size);

	if (!frame)
		return DROP_NO_HEADROOM;
	write_ethernet(frame, backend->next_hop_mac, bpf_htons(ETH_P_IP));
	write_ipv4(frame + ETH_HLEN, pkt, backend, size + pkt->length, shim ? IPPROTO_UDP : inner_protocol(pkt));
	write_shim(frame + ETH_HLEN + sizeof(struct iphdr), pkt, backend, shim);
	return FORWARD;
}

static __always_inline enum outcome encapsulate_in_ipv6(struct xdp_md *ctx, const struct packet *pkt,
							const struct backend *backend, __u32 shim)
{
	void *frame = prepend(ctx, sizeof(struct ipv6hdr) + shim);

	if (!frame)
		return DROP_NO_HEADROOM;
	write_ethernet(frame, backend->next_hop_mac, bpf_htons(ETH_P_IPV6));
	write_ipv6(frame + ETH_HLEN, pkt, backend, shim + pkt->length, shim ? IPPROTO_UDP : inner_protocol(pkt));
	write_shim(frame + ETH_HLEN + sizeof(struct ipv6hdr), pkt, backend, shim);
	return FORWARD;
}

#define GUE_SHIM sizeof(struct gue)
#define GUE_PORT_SHIM (sizeof(struct gue) + sizeof(struct gue_port))

static __always_inline enum outcome wrap(struct xdp_md *ctx, const struct packet *pkt, const struct backend *backend)
{
	switch (backend->forward) {
	case FORWARD_IPIP:
		return backend->outer_v6 ? encapsulate_in_ipv6(ctx, pkt, backend, 0) :
					   encapsulate_in_ipv4(ctx, pkt, backend, 0);
	case FORWARD_GUE:
		if (backend->port) /* other than the VIP's */
			return backend->outer_v6 ? encapsulate_in_ipv6(ctx, pkt, backend, GUE_PORT_SHIM) :
						   encapsulate_in_ipv4(ctx, pkt, backend, GUE_PORT_SHIM);
		return backend->outer_v6 ? encapsulate_in_ipv6(ctx, pkt, backend, GUE_SHIM) :
					   encapsulate_in_ipv4(ctx, pkt, backend, GUE_SHIM);
	case FORWARD_L2:
		return rewrite_macs(ctx, pkt, backend);
	case FORWARD_NAT:	/* of a VIP that is not: while a service changes */
	case FORWARD_UNSET:
		break;
	}
	return DROP_NO_BACKEND;
}

/* No TTL would end that: l2 leaves it alone. */
static __always_inline int came_from(struct xdp_md *ctx, const struct backend *backend)
{
	const __u16 *source = (void *)(long)ctx->data + ETH_ALEN;
	const __u16 *mac = (const void *)backend->next_hop_mac;

	if ((void *)(source + 3) > (void *)(long)ctx->data_end)
		return 0;
	return source[0] == mac[0] && source[1] == mac[1] && source[2] == mac[2];
}

/* Tags are dealt with before and after, so that frames without any pay for nothing but the questions. */
static __always_inline enum outcome encapsulate(struct xdp_md *ctx, const struct packet *pkt,
						const struct backend *backend)
{
	enum outcome result;

	if (backend->forward == FORWARD_L2 && came_from(ctx, backend))
		return DROP_LOOP;
	if (pkt->length > backend->longest)
		return backend->forward == FORWARD_NAT ? DROP_NO_BACKEND : too_big(ctx, pkt, backend->longest);
	if (pkt->ip_offset != ETH_HLEN && untag(ctx, pkt->ip_offset))
		return DROP_NO_HEADROOM;
	if ((result = wrap(ctx, pkt, backend)))
		return result;
	return backend->vlan[0] ? tag(ctx, backend->vlan) : FORWARD;
}
