/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Begins a connection of nat: a backend, an entry, a source port. What cannot be had drops its first packet by name. */
#pragma once

#include "checksum.h"
#include "claim.h"
#include "connection_states.h"
#include "translate.h"

/* The slot's owner, whatever its phase: the connection is what is remembered. Or whom a QUIC connection names. */
static __always_inline struct backend *pick_owner(struct xdp_md *ctx, struct packet *pkt, struct vip *vip, __u32 slot)
{
	struct backend *backend;
	__u32 index = 0;

	if (vip->flags & VIP_AFFINITY_QUIC)
		index = find_quic_backend(ctx, pkt, vip);
	if (!index)
		index = find_owner(slot);
	pkt->backend = index;
	backend = bpf_map_lookup_elem(&backends, &index);
	return backend && backend->ifindex && backend->forward == FORWARD_NAT ? backend : NULL;
}

/* The sums that its packets' checksums change by. */
static __always_inline void sum_ends(struct connection *to)
{
	__u32 came = address_sum(&to->client, to->client_v6) + address_sum(&to->vip, to->client_v6);
	__u32 leaves = address_sum(&to->source, to->backend_v6) + address_sum(&to->backend_address, to->backend_v6);

	to->request_pseudo = fold_up(came + bpf_htons(to->protocol));
	to->reply_pseudo = fold_up(leaves + bpf_htons(to->protocol));
	came += (__u32)to->client_port + to->vip_port;
	leaves += (__u32)to->source_port + to->backend_port;
	to->delta = fold_up(leaves + (__u16)fold(came));
}

/* All but its port, and its source if there are several. */
static __always_inline void write_connection(struct connection *to, const struct packet *pkt,
					     const struct backend *backend, __u32 now)
{
	to->client = pkt->source;
	to->vip = pkt->to.address;
	to->source = backend->source;
	to->backend_address = backend->destination;
	to->client_port = pkt->source_port;
	to->vip_port = pkt->to.port;
	to->backend_port = backend->port;
	to->backend = pkt->backend;
	to->back = (struct way_back){};
	to->begun = now;
	to->backend_isn = 0;
	to->protocol = pkt->to.protocol;
	to->client_v6 = pkt->to.v6;
	to->backend_v6 = backend->outer_v6;
}

static __always_inline __u64 first_tag(__u64 tag, __u8 protocol, __u32 now)
{
	__u32 state = protocol == IPPROTO_TCP ? CONNECTION_SYN : CONNECTION_ONE_WAY;
	struct nat_settings *settings = find_nat_settings();

	return make_tag(tag >> TAG_DIGEST_SHIFT, tag_generation(tag), state,
			now + (settings ? seconds_of(settings, state) : 0));
}

/* A closed connection goes on as a new one. */
static __always_inline void reopen(struct packet *pkt, __u32 now)
{
	__u64 *at = find_tag(pkt->connection), anew = first_tag(pkt->tag, IPPROTO_TCP, now);

	if (at && change_tag(at, pkt->tag, anew))
		pkt->tag = anew;
}

/* Of the entry that is claimed, as soon as it has a port. */
static __always_inline enum outcome fill(struct packet *pkt, const struct backend *backend, struct claim *claim)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &claim->index);
	__u64 *at = find_tag(claim->index);

	if (!connection || !at)
		return DROP_NAT_FULL;
	write_connection(connection, pkt, backend, claim->now);
	if (!claim_port(connection, claim))
		return DROP_NAT_PORTS;
	sum_ends(connection);
	pkt->connection = claim->index;
	pkt->tag = first_tag(claim->tag, pkt->to.protocol, claim->now);
	return change_tag(at, claim->tag, pkt->tag) ? FORWARD : DROP_NAT_FULL;
}

static __always_inline enum outcome begin(struct xdp_md *ctx, struct packet *pkt, struct vip *vip, __u32 slot,
					  __u64 hash, __u32 now)
{
	struct claim claim = { .hash = hash, .now = now };
	enum outcome result = FORWARD;
	struct backend *backend;

	if (pkt->looking || (pkt->to.protocol == IPPROTO_TCP && !pkt->new_flow))
		return DROP_NO_CONNECTION;
	backend = pick_owner(ctx, pkt, vip, slot);
	if (!backend)
		return DROP_NO_BACKEND;
	if (!claim_entry(&claim))
		return DROP_NAT_FULL;
	/* Another CPU may have begun it since. */
	find_connection(pkt, hash, now);
	if (pkt->connection == NO_CONNECTION)
		result = fill(pkt, backend, &claim);
	if (result || pkt->connection != claim.index)
		give_back(&claim);
	return result;
}
