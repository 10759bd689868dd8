// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The balancer: one XDP program that sends packets for VIPs to backends and leaves all others alone. */

#include "capture.h"
#include "count.h"
#include "dissect.h"
#include "encapsulate.h"
#include "judge.h"
#include "parse.h"
#include "rejoin.h"
#include "send.h"
#include "slots.h"
#include "switches.h"
#include "unquote.h"
#include "vip.h"

/*
 * The control plane's own notes, kept in the kernel so that a new daemon can
 * read whose the slots are. The program does not touch them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct service);
	__uint(max_entries, 1);
} services SEC(".maps");

/* One value, which the control plane leaves for the build that comes after it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct layout);
	__uint(max_entries, 1);
} layouts SEC(".maps");

/* The same, of the other maps' types. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct map_types);
	__uint(max_entries, 1);
} type_notes SEC(".maps");

/* The way of a packet whose ports are known. */
static __always_inline enum outcome forward(struct xdp_md *ctx, struct packet *pkt)
{
	struct backend *backend;
	enum outcome result;
	struct vip *vip;

	if ((result = find_vip(pkt, &vip)))
		return result;
	if ((result = judge(pkt)))
		return result;
	if ((result = pick_backend(ctx, pkt, vip, &backend)))
		return result;
	if ((result = encapsulate(ctx, pkt, backend)))
		return result;
	return send(ctx, pkt, backend);
}

/* The way of a packet that has no ports, because it is a later fragment. */
static __always_inline enum outcome forward_later(struct xdp_md *ctx, struct packet *pkt, const struct headers *ip)
{
	struct backend *backend;
	enum outcome result;

	if ((result = rejoin(ctx, pkt, ip, &backend)))
		return result;
	if ((result = encapsulate(ctx, pkt, backend)))
		return result;
	return send(ctx, pkt, backend);
}

/*
 * What few packets are: tagged, in fragments, behind extension headers, cut
 * short, ICMP. Not inlined, so that plain packets do not pay for it.
 */
static __noinline enum outcome balance_others(struct xdp_md *ctx, struct packet *pkt)
{
	struct headers ip = {};
	enum outcome result;

	*pkt = (struct packet){};
	if ((result = dissect(ctx, pkt, &ip)))
		return result;
	if (is_icmp(pkt))
		result = read_message(ctx, pkt, &ip);
	else if (ip.fragment == LATER_FRAGMENT)
		return forward_later(ctx, pkt, &ip);
	else
		result = dissect_transport(ctx, pkt, &ip);
	if (result)
		return result;
	result = forward(ctx, pkt);
	if (ip.fragment == FIRST_FRAGMENT && !pkt->looking)
		remember_first(pkt, &ip, result);
	return result;
}

/* The first step that objects names the packet's outcome. */
static __always_inline enum outcome balance(struct xdp_md *ctx, struct packet *pkt)
{
	if (!parse_plain(ctx, pkt))
		return balance_others(ctx, pkt);
	return forward(ctx, pkt);
}

/* No default: the compiler asks what a new outcome should do. */
static __always_inline int verdict(enum outcome outcome, const struct packet *pkt)
{
	switch (outcome) {
	case FORWARD:
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
		return XDP_TX;
	case HOLD_FRAGMENT:
	case DROP_UNREADABLE:
	case DROP_BAD_LENGTH:
	case DROP_BAD_FLAGS:
	case DROP_LOOP:
	case DROP_FRAGMENT:
	case DROP_ICMP_QUOTE:
	case DROP_NO_BACKEND:
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
		show_departure(ctx, pkt.backend, outcome, result);
	return result;
}

char _license[] SEC("license") = "Dual BSD/GPL";
