// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The backend's side: takes what the balancer sends out of its tunnel, as an XDP program or, where that cannot be had, under tc. */

#include "decap_admit.h"
#include "decap_ecn.h"
#include "decap_map.h"
#include "decap_parse.h"
#include "decap_strip.h"

#define DECAP_OUTCOMES_MAX 32

/* Written here, a slot a CPU; read by `pointsman decap --counters`. The name of an index is in this program's BTF. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, enum decap_outcome);
	__type(value, __u64);
	__uint(max_entries, DECAP_OUTCOMES_MAX);
} decap_counters SEC(".maps");

/* All but the ports and the stripping, for both hooks. The first step that objects names the frame's outcome. */
static __always_inline enum decap_outcome admit(struct cursor *cursor, struct tunnel *tunnel)
{
	enum decap_outcome result;

	if ((result = parse_outer(cursor, tunnel)))
		return result;
	if (tunnel->gue && (result = parse_gue(cursor, tunnel)))
		return result;
	if ((result = parse_inner(cursor, tunnel)))
		return result;
	if ((result = find_vip(tunnel)))
		return result;
	if ((result = check_source(tunnel)))
		return result;
	if ((result = check_length(tunnel)))
		return result;
	return carry_ecn(tunnel);
}

static __always_inline enum decap_outcome decapsulate_xdp(struct xdp_md *ctx)
{
	struct cursor cursor = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.left = ctx->data_end - ctx->data,
	};
	struct tunnel tunnel = {};
	enum decap_outcome result = admit(&cursor, &tunnel);

	if (!result)
		result = map_in(ctx, XDP, &tunnel);
	return result ? result : strip_xdp(ctx, &tunnel);
}

/* The longest headers that are read here: Ethernet, IPv6, GUE with a port, IPv6. */
#define HEADERS (sizeof(struct ethhdr) + 2 * sizeof(struct ipv6hdr) + sizeof(struct gue) + sizeof(struct gue_port))

static __always_inline enum decap_outcome decapsulate_tc(struct __sk_buff *ctx)
{
	struct tunnel tunnel = {};
	struct cursor cursor;
	enum decap_outcome result;

	/* A driver may leave headers in pages; if they cannot be fetched, the parser says what is missing. */
	if (ctx->data_end - ctx->data < HEADERS && ctx->data_end - ctx->data < ctx->len)
		bpf_skb_pull_data(ctx, ctx->len < HEADERS ? ctx->len : HEADERS);

	cursor.at = (void *)(long)ctx->data;
	cursor.end = (void *)(long)ctx->data_end;
	cursor.left = ctx->len;
	result = admit(&cursor, &tunnel);
	if (!result)
		result = map_in(ctx, TC, &tunnel);
	return result ? result : strip_tc(ctx, &tunnel);
}

/* XDP's codes for both hooks. No default: the compiler asks what a new outcome should do. */
static __always_inline int verdict(enum decap_outcome outcome)
{
	switch (outcome) {
	case DECAPSULATE:
	case PASS_NOT_TUNNEL:
	case PASS_TAGGED:
	case PASS_NOT_OUR_VIP:
	case PASS_OUTER_CUT_SHORT:
	case PASS_OUTER_SENSELESS:
	case PASS_OUTER_FRAGMENT:
	case PASS_OUTER_OPTIONS:
	case PASS_GUE_VARIANT:
	case PASS_GUE_OPTIONS:
	case PASS_GUE_CHECKSUM:
	case PASS_INNER_CUT_SHORT:
	case PASS_INNER_SENSELESS:
	case PASS_MAPPED_BACK:
		return XDP_PASS;
	case DROP_SOURCE_NOT_ALLOWED:
	case DROP_INNER_LENGTH:
	case DROP_CONGESTED:
	case DROP_CANNOT_STRIP:
	case DROP_NOT_MAPPED:
	case DROP_INNER_UNREADABLE:
	case DROP_CANNOT_MAP:
		return XDP_DROP;
	}
	return XDP_ABORTED;
}

/* The only exit, but for what leaves and is none of ours. */
static __always_inline int count(enum decap_outcome outcome)
{
	__u64 *counter = bpf_map_lookup_elem(&decap_counters, &outcome);

	if (counter)
		(*counter)++;
	return verdict(outcome);
}

SEC("xdp")
int pointsman_decap(struct xdp_md *ctx)
{
	return count(decapsulate_xdp(ctx));
}

/* UNSPEC, not OK: programs behind this one see the packet too. */
SEC("tc")
int pointsman_decap_tc(struct __sk_buff *ctx)
{
	return count(decapsulate_tc(ctx)) == XDP_PASS ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* What leaves this host, by any interface. Answers of mapped ports only are counted. */
SEC("tc")
int pointsman_decap_out(struct __sk_buff *ctx)
{
	enum decap_outcome result = map_out(ctx);

	if (result == PASS_NOT_OUR_VIP)
		return TC_ACT_UNSPEC;
	return count(result) == XDP_PASS ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
