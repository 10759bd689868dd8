/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Finds the backend that a QUIC packet's connection ID names, whatever address and port its client has by now. */
#pragma once

#include "packet.h"

/*
 * Indexes of backends by what their connection IDs hold. Written by the control
 * plane for services with that affinity. A missing entry: the packet goes by flow.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct quic_key);
	__type(value, __u32);
	__uint(max_entries, 1);
} quic_ids SEC(".maps");

#define QUIC_LONG_HEADER 0x80	/* RFC 9000, section 17.2: form, version, length of the connection ID, and that */
#define QUIC_LONG_FIXED 6
#define QUIC_FARTHEST 0x3fff	/* where a UDP header may stand: beyond any frame's, and what the verifier can follow */

/*
 * Where in the UDP payload the bytes begin that may name a backend; 0 if it has
 * none. A short header does not tell how long its connection ID is (RFC 9000,
 * section 17.3.1).
 */
static __always_inline __u32 find_quic_id(const __u8 *payload, const void *end, const struct vip *vip)
{
	__u32 behind = vip->quic_offset + vip->quic_length;

	if ((void *)payload + 1 > end)
		return 0;
	if (!(payload[0] & QUIC_LONG_HEADER))
		return 1 + vip->quic_offset;
	if ((void *)payload + QUIC_LONG_FIXED > end || payload[QUIC_LONG_FIXED - 1] < behind)
		return 0;
	return QUIC_LONG_FIXED + vip->quic_offset;
}

/* Zero if no living backend is named. */
static __noinline __u32 find_quic_backend(struct xdp_md *ctx, const struct packet *pkt, const struct vip *vip)
{
	struct quic_key key = { .service = vip->service, .length = vip->quic_length };
	void *end = (void *)(long)ctx->data_end;
	struct backend *backend;
	struct udphdr *udp;
	__u8 *payload;
	__u32 at, length, *index;
	__u32 transport = pkt->ip_offset + pkt->ip_headers;

	if (transport > QUIC_FARTHEST)
		return 0;
	udp = (void *)(long)ctx->data + transport;
	payload = (void *)(udp + 1);
	if ((void *)payload > end)
		return 0;
	/* A first fragment holds less than the datagram, and what is behind it is padding. */
	length = bpf_ntohs(udp->len);
	if (length > pkt->length - pkt->ip_headers)
		length = pkt->length - pkt->ip_headers;
	at = find_quic_id(payload, end, vip);
	/* A length shorter than its own header is not judged in a first fragment. */
	if (!at || sizeof(*udp) + at + key.length > length)
		return 0;
	payload += at;
#pragma unroll
	for (__u32 i = 0; i < QUIC_ID_MAX; i++) {
		if (i == key.length)
			break;
		if ((void *)payload + i + 1 > end)
			return 0;
		key.id[i] = payload[i];
	}
	index = bpf_map_lookup_elem(&quic_ids, &key);
	if (!index)
		return 0;
	backend = bpf_map_lookup_elem(&backends, index);
	return backend && backend->ifindex ? *index : 0;
}
