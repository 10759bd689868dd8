/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Full NAT: clients' packets become a connection of the balancer's own to a
 * backend, and what that answers goes back in the VIP's name.
 */
#pragma once

#include "begin.h"
#include "judge.h"
#include "send.h"
#include "translate_error.h"
#include "translate_fragment.h"
#include "way_back.h"

/* The backend of a connection, if it is still the one that it was begun with, and lives. */
static __always_inline struct backend *find_backend(const struct connection *connection)
{
	__u32 index = connection->backend;
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || !backend->ifindex || backend->forward != FORWARD_NAT ||
	    backend->port != connection->backend_port ||
	    !same_address(&backend->destination, &connection->backend_address))
		return NULL;
	return backend;
}

/*
 * Whether a client's packet begins a connection anew although there is one of the
 * same ports. A SYN does where the old one is closed: it goes on under the same
 * source port where it stays with its backend, which judges it as RFC 6191 and
 * RFC 1122, section 4.2.2.13, say, by the client's own sequence numbers.
 */
static __always_inline int begins_anew(const struct packet *pkt, const struct connection *connection, __u32 owner)
{
	int closed = tag_state(pkt->tag) >= CONNECTION_LAST_ACK;

	if (pkt->looking || (pkt->to.protocol == IPPROTO_TCP && !pkt->new_flow))
		return 0;
	return !find_backend(connection) || (pkt->new_flow && closed && connection->backend != owner);
}

/* Its port stays taken for as long as its backend may remember it. */
static __always_inline void retire(const struct packet *pkt, __u32 now)
{
	struct nat_settings *settings = find_nat_settings();
	__u64 *at = find_tag(pkt->connection);

	if (settings && at)
		change_tag(at, pkt->tag, make_tag(0, tag_generation(pkt->tag), CONNECTION_RETIRED,
						  now + seconds_of(settings, CONNECTION_RETIRED)));
}

/* A segment that only somebody can send who has got the backend's SYN-ACK. */
static __always_inline int proves(struct xdp_md *ctx, const struct packet *pkt, const struct connection *connection)
{
	struct tcphdr *tcp = header_at(ctx, pkt->ip_offset + pkt->ip_headers, sizeof(*tcp));

	if (!tcp || !(pkt->tcp_flags & TCP_ACK))
		return 0;
	return bpf_ntohl(tcp->ack_seq) - bpf_ntohl(connection->backend_isn) - 1 < PROOF_WINDOW;
}

/* What a client's packet changes of its connection. Not inlined, for the sake of the stack. */
__noinline int note_request(struct xdp_md *ctx, struct packet *pkt)
{
	struct connection *connection = pkt ? connection_of(pkt) : NULL;
	struct sign sign = { .from_client = 1 };

	if (!connection || pkt->looking)
		return 0;
	sign.flags = pkt->tcp_flags;
	sign.protocol = pkt->to.protocol;
	if (tag_state(pkt->tag) == CONNECTION_SYN_ACK)
		sign.proves = proves(ctx, pkt, connection);
	live_on(pkt, &sign);
	learn_way_back(ctx, pkt, connection);
	return 0;
}

static __always_inline void write_request(struct passage *passage, const struct connection *connection,
					  const struct backend *backend)
{
	passage->source = connection->source;
	passage->destination = connection->backend_address;
	passage->source_port = connection->source_port;
	passage->destination_port = connection->backend_port;
	passage->delta = connection->delta;
	passage->pseudo = connection->request_pseudo;
	passage->longest = backend->longest;
	passage->vlan[0] = backend->vlan[0];
	passage->vlan[1] = backend->vlan[1];
	passage->v6 = connection->backend_v6;
	__builtin_memcpy(passage->macs, backend->next_hop_mac, sizeof(passage->macs));
}

/* Each from here, not from one another: Linux 6.1 counts their stacks in steps of 32 bytes. */
static __always_inline enum outcome translate_any(struct xdp_md *ctx, struct packet *pkt, struct passage *passage)
{
	if (pkt->fragment)
		return translate_fragment(ctx, pkt, passage);
	return pkt->looking ? translate_error(ctx, pkt, passage) : translate(ctx, pkt, passage);
}

/* Finds the connection of a client's packet, or begins it. */
__noinline enum outcome find_or_begin(struct xdp_md *ctx, struct packet *pkt, struct vip *vip)
{
	struct connection *connection;
	__u32 now = now_seconds(), slot;
	__u64 sum, hash;

	if (!pkt || !vip)
		return DROP_NO_CONNECTION;
	sum = flow_sum(pkt);
	hash = flow_hash(sum);
	slot = slot_of(pkt, vip, sum);
	find_connection(pkt, hash, now);
	connection = connection_of(pkt);
	if (connection && begins_anew(pkt, connection, pkt->new_flow ? find_owner(slot) : 0)) {
		retire(pkt, now);
		connection = NULL;
	}
	if (!connection)
		return begin(ctx, pkt, vip, slot, hash, now);
	if (pkt->new_flow && tag_state(pkt->tag) >= CONNECTION_LAST_ACK)
		reopen(pkt, now);
	return FORWARD;
}

/* Sends a client's packet on as one of its connection. */
__noinline enum outcome send_request(struct xdp_md *ctx, struct packet *pkt)
{
	struct connection *connection;
	struct passage passage = {};
	struct backend *backend;
	enum outcome result;
	__u32 ifindex;

	connection = pkt ? connection_of(pkt) : NULL;
	backend = connection ? find_backend(connection) : NULL;
	if (!backend)
		return DROP_NO_CONNECTION;
	pkt->backend = connection->backend;
	ifindex = backend->ifindex;
	write_request(&passage, connection, backend);
	note_request(ctx, pkt);
	if (!still_there(pkt))
		return DROP_NO_CONNECTION;
	if ((result = translate_any(ctx, pkt, &passage)))
		return result;
	return send(ctx, pkt, ifindex);
}

static __always_inline void note_reply(struct xdp_md *ctx, const struct packet *pkt, struct connection *connection)
{
	struct tcphdr *tcp = header_at(ctx, pkt->ip_offset + pkt->ip_headers, sizeof(*tcp));
	struct sign sign = {
		.flags = pkt->tcp_flags,
		.protocol = pkt->to.protocol,
	};

	/* Its latest word: one that has forgotten the first SYN chooses anew. */
	if (tag_state(pkt->tag) <= CONNECTION_SYN_ACK && tcp && pkt->tcp_flags & TCP_SYN)
		connection->backend_isn = tcp->seq;
	live_on(pkt, &sign);
}

static __always_inline void write_reply(struct passage *passage, const struct connection *connection)
{
	passage->source = connection->vip;
	passage->destination = connection->client;
	passage->source_port = connection->vip_port;
	passage->destination_port = connection->client_port;
	passage->delta = ~connection->delta;
	passage->pseudo = connection->reply_pseudo;
	passage->longest = connection->back.longest;
	passage->vlan[0] = connection->back.vlan[0];
	passage->vlan[1] = connection->back.vlan[1];
	passage->v6 = connection->client_v6;
	__builtin_memcpy(passage->macs, connection->back.macs, sizeof(passage->macs));
}

/* The way of a packet that is for no VIP, and may be a nat backend's. */
__noinline enum outcome send_reply(struct xdp_md *ctx, struct packet *pkt)
{
	struct connection *connection;
	struct passage passage = {};
	enum outcome result;
	__u32 ifindex;

	if (!pkt)
		return PASS_NOT_VIP;
	find_answered(pkt, now_seconds());
	connection = connection_of(pkt);
	if (!connection)
		return PASS_NOT_VIP;
	if ((result = judge(pkt)))
		return result;
	write_reply(&passage, connection);
	ifindex = connection->back.ifindex;
	if (!pkt->looking)
		note_reply(ctx, pkt, connection);
	if (!still_there(pkt))
		return DROP_NO_CONNECTION;
	if ((result = translate_any(ctx, pkt, &passage)))
		return result;
	result = send(ctx, pkt, ifindex);
	return result ? result : REPLY_BACKEND;
}

/* The way of a later fragment of a connection, in which it leaves no trace: the first has said all. */
__noinline enum outcome send_later(struct xdp_md *ctx, struct packet *pkt)
{
	struct connection *connection;
	struct passage passage = {};
	struct backend *backend;
	enum outcome result;
	__u32 ifindex;

	connection = pkt ? connection_of(pkt) : NULL;
	backend = connection ? find_backend(connection) : NULL;
	if (!connection || (pkt->nat == NAT_REQUEST && !backend))
		return DROP_NO_CONNECTION;
	if (pkt->nat == NAT_REQUEST && backend) {
		write_request(&passage, connection, backend);
		ifindex = backend->ifindex;
	} else {
		write_reply(&passage, connection);
		ifindex = connection->back.ifindex;
	}
	if (!still_there(pkt))
		return DROP_NO_CONNECTION;
	if ((result = translate_fragment(ctx, pkt, &passage)) || (result = send(ctx, pkt, ifindex)))
		return result;
	return pkt->nat == NAT_REPLY ? REPLY_BACKEND : FORWARD;
}
