// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The balancer: one XDP program that sends packets for VIPs to backends and leaves all others alone. */

#include "capture.h"
#include "count.h"
#include "dissect.h"
#include "encapsulate.h"
#include "judge.h"
#include "nat.h"
#include "notes.h"
#include "parse.h"
#include "rejoin.h"
#include "send.h"
#include "slots.h"
#include "switches.h"
#include "unquote.h"
#include "vip.h"

/* The way of a packet whose ports are known. If pkt->nat says so, it is only begun. */
static __always_inline enum outcome forward(struct xdp_md *ctx, struct packet *pkt, struct vip *vip)
{
	struct backend *backend;
	enum outcome result;

	if ((result = find_vip(pkt, vip)))
		return result;
	if ((result = judge(pkt)))
		return result;
	if (vip->flags & VIP_NAT) {
		pkt->nat = NAT_REQUEST;
		return FORWARD;
	}
	if ((result = pick_backend(ctx, pkt, vip, &backend)))
		return result;
	if ((result = encapsulate(ctx, pkt, backend)))
		return result;
	return send(ctx, pkt, backend->ifindex);
}

/* The way of a packet that has no ports, because it is a later fragment. If pkt->nat says so, likewise. */
__noinline enum outcome forward_later(struct xdp_md *ctx, struct packet *pkt)
{
	struct backend *backend = NULL;
	enum outcome result;

	if (!pkt)
		return DROP_FRAGMENT;
	if ((result = rejoin(ctx, pkt, &backend)) || !backend)
		return result;
	if ((result = encapsulate(ctx, pkt, backend)))
		return result;
	return send(ctx, pkt, backend->ifindex);
}

/*
 * What few packets are: tagged, in fragments, behind extension headers, cut
 * short, ICMP. Not inlined, so that plain packets do not pay for it, and looked
 * at by the verifier once, as what few packets need is. FORWARD if the packet
 * goes on.
 */
__noinline enum outcome read_others(struct xdp_md *ctx, struct packet *pkt)
{
	struct headers ip = {};
	enum outcome result;

	if (!pkt)
		return PASS_UNREADABLE;
	*pkt = (struct packet){};
	if ((result = dissect(ctx, pkt, &ip)))
		return result;
	if (is_icmp(pkt))
		return read_message(ctx, pkt, &ip);
	pkt->fragment = ip.fragment;
	pkt->fragment_id = ip.fragment_id;
	pkt->fragment_bits = ip.fragment_bits;
	pkt->fragment_at = ip.fragment_at - pkt->ip_offset;
	if (ip.fragment != LATER_FRAGMENT)
		return dissect_transport(ctx, pkt, &ip);
	pkt->ip_headers = ip.transport - pkt->ip_offset;
	pkt->least = pkt->ip_headers;
	pkt->unanswerable = 1;
	return FORWARD;
}

/* The way of those, likewise. */
static __noinline enum outcome balance_others(struct xdp_md *ctx, struct packet *pkt, struct vip *vip)
{
	enum outcome result;

	if ((result = read_others(ctx, pkt)))
		return result;
	if (pkt->fragment == LATER_FRAGMENT)
		return forward_later(ctx, pkt);
	return forward(ctx, pkt, vip);
}

/* The rest of the way of what a nat VIP gets, and of what may be a nat backend's. */
static __noinline enum outcome go_by_nat(struct xdp_md *ctx, struct packet *pkt, struct vip *vip)
{
	enum outcome result;

	if (pkt->nat == NAT_REPLY)
		return send_reply(ctx, pkt);
	result = find_or_begin(ctx, pkt, vip);
	return result ? result : send_request(ctx, pkt);
}

/* The first step that objects names the packet's outcome. */
static __always_inline enum outcome balance(struct xdp_md *ctx, struct packet *pkt)
{
	struct vip vip = {};
	enum outcome result;

	if (parse_plain(ctx, pkt)) {
		result = forward(ctx, pkt, &vip);
		if (pkt->nat)
			result = go_by_nat(ctx, pkt, &vip);
	} else {
		result = balance_others(ctx, pkt, &vip);
		if (pkt->nat)
			result = pkt->fragment == LATER_FRAGMENT ? send_later(ctx, pkt) : go_by_nat(ctx, pkt, &vip);
		if (pkt->fragment == FIRST_FRAGMENT)
			remember_first(pkt, result);
	}
	if (result >= FIRST_DROP)
		count_drop_of_service(&vip, result);
	return result;
}

/* No default: the compiler asks what a new outcome should do. */
static __always_inline int verdict(enum outcome outcome, const struct packet *pkt)
{
	switch (outcome) {
	case FORWARD:
	case REPLY_BACKEND:
		return pkt->forward_verdict;
	case PASS_NOT_IP:
	case PASS_NOT_TCP_UDP:
	case PASS_NOT_VIP:
	case PASS_ICMP:
	case PASS_UNREADABLE:
		return XDP_PASS;
	case REPLY_ECHO:
	case REPLY_TOO_BIG:
	case REPLY_TOO_BIG_NO_DF:
	case REPLY_SOURCE_ROUTE:
		return XDP_TX;
	case HOLD_FRAGMENT:
	case DROP_UNREADABLE:
	case DROP_BAD_LENGTH:
	case DROP_BAD_FLAGS:
	case DROP_BAD_CHECKSUM:
	case DROP_LOOP:
	case DROP_FRAGMENT:
	case DROP_ICMP_QUOTE:
	case DROP_NO_BACKEND:
	case DROP_NO_CONNECTION:
	case DROP_NAT_FULL:
	case DROP_NAT_PORTS:
	case DROP_NAT_FAMILY:
	case DROP_TTL:
	case DROP_TOO_BIG:
	case DROP_NO_HEADROOM:
	case DROP_NO_EGRESS:
		return XDP_DROP;
	}
	return XDP_ABORTED;
}

SEC("xdp")
int pointsman_lb(struct xdp_md *ctx)
{
	struct packet pkt = {};
	enum outcome outcome;
	int result;

	if (capture_wish.until)
		show_arrival(ctx);
	outcome = balance(ctx, &pkt);
	count(ctx, outcome, &pkt);
	result = verdict(outcome, &pkt);
	if (capture_wish.until)
		show_departure(ctx, &pkt, outcome, result);
	return result;
}

char _license[] SEC("license") = "Dual BSD/GPL";
