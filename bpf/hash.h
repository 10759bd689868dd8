/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The keyed hash of a flow: whoever does not know the fleet's secret cannot choose its slot. */
#pragma once

#include "packet.h"

/* Written once by the loader, before the program is verified. */
const volatile struct settings config SEC(".rodata");

/*
 * NH of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999, section
 * 4): two flows collide with probability 2^-32 over the key, whatever their
 * tuples. One multiplication for eight bytes, and they do not wait for each
 * other, which SipHash's rounds would.
 */
static __always_inline __u64 nh(__u32 a, __u32 b, int word)
{
	return (__u64)(__u32)(a + config.hash_key[word]) * (__u32)(b + config.hash_key[word + 1]);
}

/* The finaliser of MurmurHash3 (fmix64): every bit of the result depends on every bit of the sum. */
static __always_inline __u64 mix(__u64 sum)
{
	sum ^= sum >> 33;
	sum *= 0xff51afd7ed558ccdULL;
	sum ^= sum >> 33;
	sum *= 0xc4ceb9fe1a85ec53ULL;
	return sum ^ sum >> 33;
}

/* Of the 5-tuple. */
static __always_inline __u64 flow_sum(const struct packet *pkt)
{
	__u32 ports = (__u32)pkt->source_port << 16 | pkt->to.port;
	__u64 sum = nh(pkt->source.word[3], pkt->to.address.word[3], 0) + nh(ports, pkt->to.protocol, 2);

	if (pkt->to.v6) {
		sum += nh(pkt->source.word[0], pkt->source.word[1], 4);
		sum += nh(pkt->source.word[2], pkt->to.address.word[0], 6);
		sum += nh(pkt->to.address.word[1], pkt->to.address.word[2], 8);
	}
	return sum;
}

static __always_inline __u64 host_sum(const struct address *host, int v6)
{
	__u64 sum = nh(host->word[3], 0, 0);

	if (v6)
		sum += nh(host->word[0], host->word[1], 4) + nh(host->word[2], 0, 6);
	return sum;
}

/* Of the client's address alone. */
static __always_inline __u64 client_sum(const struct packet *pkt)
{
	return host_sum(&pkt->source, pkt->to.v6);
}

/* The upper half chooses the slot; the lower is entropy for outer headers, so that switches do not polarise. */
static __always_inline __u64 slot_hash(__u64 sum)
{
	return mix(sum ^ config.hash_seed);
}

/* Independent of the slot: the flows of one slot spread over all buckets. */
static __always_inline __u64 flow_hash(__u64 sum)
{
	return mix(sum ^ config.flow_seed);
}
