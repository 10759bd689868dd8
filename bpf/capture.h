/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Shows packets as they come and as they go to whoever captures. While nobody
 * does, that is a word which is found to be zero, twice a packet.
 */
#pragma once

#include "capture_match.h"
#include "connections.h"
#include "copy.h"

/* What is captured, and until when. Written by a capturing process, again and again while it lives. */
volatile struct capture_wish capture_wish SEC(".data.capture") = {};

#define FRAMES_BYTES (4 * 1024 * 1024)

/* Read by the capturing process. What does not fit is lost to the capture, and counted. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FRAMES_BYTES);
} frames SEC(".maps");

/* A jumbo frame and its outer headers. */
#define CAPTURED_SIZE 9216

/*
 * The packet that the program is at work on, on this CPU, if it is captured:
 * what was told of it when it came. XDP programs do not interrupt each other.
 */
struct at_work {
	struct captured packet;
	__u8 frame[CAPTURED_SIZE];	/* behind the packet, because both are one record */
	__u64 lost;	/* records that found no room, ever */
	__u64 wanted;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct at_work);
	__uint(max_entries, 1);
} at_work SEC(".maps");

/* An interrupt for each packet would cost the reader more than the rest. */
static __always_inline __u64 wakes_reader(void)
{
	return bpf_ringbuf_query(&frames, BPF_RB_AVAIL_DATA) >= FRAMES_BYTES / 16 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/*
 * As many of its bytes as are wanted follow what is told of it. False where there was
 * no room. A global function, see copy.h.
 */
__noinline int show(struct xdp_md *ctx, int with_bytes)
{
	__u64 size = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	__u32 only = 0;
	struct at_work *here = bpf_map_lookup_elem(&at_work, &only);

	if (!here)
		return 0;
	here->packet.ns = bpf_ktime_get_ns();
	here->packet.cpu = bpf_get_smp_processor_id();
	here->packet.length = size;
	if (size > capture_wish.snaplen)
		size = capture_wish.snaplen;
	if (size > CAPTURED_SIZE)
		size = CAPTURED_SIZE;
	if (with_bytes)
		copy_frame(ctx, here->frame, CAPTURED_SIZE, size);
	else
		size = 0;
	if (!bpf_ringbuf_output(&frames, &here->packet, sizeof(here->packet) + size, wakes_reader()))
		return 1;
	here->lost++;
	return 0;
}

/* Not inlined, as the next: most packets go by. */
static __noinline int show_arrival(struct xdp_md *ctx)
{
	__u32 only = 0;
	struct at_work *here = bpf_map_lookup_elem(&at_work, &only);

	if (!here)
		return 0;
	/* A capturing process that died leaves its wish behind. */
	here->wanted = bpf_ktime_get_ns() / NS_PER_SECOND < capture_wish.until && is_wanted(ctx, &capture_wish);
	if (!here->wanted)
		return 0;
	here->packet.number++;
	here->packet.ifindex = ctx->ingress_ifindex;
	here->packet.queue = ctx->rx_queue_index;
	here->packet.gone = 0;
	/* Half of a packet is of no use: without the first record there is no second. */
	here->wanted = show(ctx, 1);
	return 0;
}

/* The interface that a packet leaves by: to its backend, or to its client. */
static __always_inline __u32 egress_of(const struct packet *pkt, enum outcome outcome)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &pkt->connection);
	struct backend *backend = bpf_map_lookup_elem(&backends, &pkt->backend);

	if (outcome == REPLY_BACKEND)
		return connection ? connection->back.ifindex : 0;
	return backend ? backend->ifindex : 0;
}

/* The bytes of a packet that the program does not send are as they were. */
static __noinline int show_departure(struct xdp_md *ctx, const struct packet *pkt, enum outcome outcome, int verdict)
{
	__u32 only = 0;
	struct at_work *here = bpf_map_lookup_elem(&at_work, &only);

	if (!here || !here->wanted)
		return 0;
	here->wanted = 0;
	here->packet.gone = 1;
	here->packet.outcome = outcome;
	here->packet.verdict = verdict;
	if (verdict == XDP_REDIRECT)
		here->packet.ifindex = egress_of(pkt, outcome);
	show(ctx, verdict == XDP_TX || verdict == XDP_REDIRECT);
	return 0;
}
