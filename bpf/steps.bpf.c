// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * No part of what ships: the way of a plain packet, as lb.bpf.c has it, that ends after a
 * given step, or takes one in another way than the balancer does. `make bench BENCH=step`
 * times them. The maps are the balancer's.
 */

#include "capture.h"
#include "count.h"
#include "encapsulate.h"
#include "judge.h"
#include "parse.h"
#include "send.h"
#include "slots.h"
#include "vip.h"

enum step { ENTER, PARSE, VIP, JUDGE, HASH, SLOT, BACKEND, ENCAPSULATE, SEND, COUNT };

enum otherwise {
	AS_IT_IS,
	VIP_BY_HASH,	/* the kernel's hash is asked for each packet */
	SLOT_OF_16_BITS, /* twice as many to a cache line; which backend they name is without meaning */
	WHOLE_CHECKSUM,	/* no part of the outer header's is summed beforehand */
	COUNT_TWICE,	/* with the service, too */
	READ_BUCKET,	/* where the flow would be remembered: what an unsettled slot waits for */
};

/* What the compiler may not leave out: memory is as somebody else would see it now. */
#define KEEP(x) asm volatile("" : : "r"(x) : "memory")

static __always_inline enum outcome find_vip_by_hash(struct packet *pkt, struct vip *vip)
{
	struct vip *found = bpf_map_lookup_elem(&vips, &pkt->to);

	if (!found)
		return PASS_NOT_VIP;
	*vip = *found;
	return FORWARD;
}

static __always_inline __u32 find_owner_of_16_bits(__u32 slot)
{
	__u32 index = slot / (2 * SLOTS_PER_LINE), owner;
	struct slot_line *line = bpf_map_lookup_elem(&slots, &index);

	owner = line ? ((const volatile __u16 *)line->owner)[slot % (2 * SLOTS_PER_LINE)] : 0;
	/* 1 for none, without a branch that nobody can predict: every other one is the upper half of an owner. */
	return owner - ((int)(owner - 1) >> 31);
}

static __always_inline void read_bucket(__u64 hash)
{
	struct flow_bucket *bucket = find_bucket(hash);

	if (bucket)
		KEEP(READ_ONCE(bucket->flow[0]));
}

static __always_inline void sum_whole_header(struct xdp_md *ctx)
{
	struct iphdr *outer = (void *)(long)ctx->data + ETH_HLEN;
	__u32 sum = 0;

	if ((void *)(outer + 1) > (void *)(long)ctx->data_end)
		return;
	outer->check = 0;
	for (int i = 0; i < 10; i++)
		sum += ((const volatile __u16 *)outer)[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	outer->check = ~sum;
}

static __always_inline int go_until(struct xdp_md *ctx, enum step last, enum otherwise how)
{
	struct backend *backend;
	struct packet pkt = {};
	struct vip vip = {};
	__u64 sum, hash;
	__u32 slot;

	if (capture_wish.until)
		return XDP_ABORTED;
	KEEP(&pkt);
	KEEP(&vip);
	if (last == ENTER)
		return XDP_PASS;

	if (!parse_plain(ctx, &pkt))
		return XDP_ABORTED;
	KEEP(&pkt);
	if (last == PARSE)
		return XDP_PASS;

	if (how == VIP_BY_HASH ? find_vip_by_hash(&pkt, &vip) : find_vip(&pkt, &vip))
		return XDP_ABORTED;
	KEEP(&vip);
	if (last == VIP)
		return XDP_PASS;

	if (judge(&pkt) || vip.flags & VIP_NAT)
		return XDP_ABORTED;
	if (last == JUDGE)
		return XDP_PASS;

	sum = flow_sum(&pkt);
	hash = hash_of(&pkt, &vip, sum);
	slot = find_slot(&vip, hash);
	pkt.entropy = hash;
	KEEP(slot);
	if (how == READ_BUCKET)
		read_bucket(hash);
	if (last == HASH)
		return XDP_PASS;

	pkt.backend = how == SLOT_OF_16_BITS ? find_owner_of_16_bits(slot) : find_owner(slot);
	if (vip.flags & VIP_OTHERWISE)
		return XDP_ABORTED;
	KEEP(&pkt);
	if (last == SLOT)
		return XDP_PASS;

	backend = bpf_map_lookup_elem(&backends, &pkt.backend);
	if (!backend || !backend->ifindex)
		return XDP_ABORTED;
	if (last == BACKEND)
		return XDP_PASS;

	if (encapsulate(ctx, &pkt, backend))
		return XDP_ABORTED;
	if (how == WHOLE_CHECKSUM)
		sum_whole_header(ctx);
	if (last == ENCAPSULATE)
		return XDP_TX;

	if (send(ctx, &pkt, backend->ifindex))
		return XDP_ABORTED;
	if (last == SEND)
		return pkt.forward_verdict;

	count(ctx, FORWARD, &pkt);
	if (how == COUNT_TWICE) {
		pkt.backend = vip.service;
		count(ctx, FORWARD, &pkt);
	}
	return pkt.forward_verdict;
}

#define STEP(name, last, how) SEC("xdp") int name(struct xdp_md *ctx) { return go_until(ctx, last, how); }

STEP(step_enter, ENTER, AS_IT_IS)
STEP(step_parse, PARSE, AS_IT_IS)
STEP(step_vip, VIP, AS_IT_IS)
STEP(step_judge, JUDGE, AS_IT_IS)
STEP(step_hash, HASH, AS_IT_IS)
STEP(step_bucket, HASH, READ_BUCKET)
STEP(step_slot, SLOT, AS_IT_IS)
STEP(step_backend, BACKEND, AS_IT_IS)
STEP(step_encapsulate, ENCAPSULATE, AS_IT_IS)
STEP(step_send, SEND, AS_IT_IS)
STEP(step_count, COUNT, AS_IT_IS)
STEP(step_all_vip_by_hash, COUNT, VIP_BY_HASH)
STEP(step_all_slot_of_16_bits, COUNT, SLOT_OF_16_BITS)
STEP(step_all_whole_checksum, COUNT, WHOLE_CHECKSUM)
STEP(step_all_count_twice, COUNT, COUNT_TWICE)

char _license[] SEC("license") = "Dual BSD/GPL";
