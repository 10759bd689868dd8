/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Keeps loads in the program's order on machines that may change it. */
#pragma once

#include "hash.h"

/*
 * What is loaded before is loaded before all that is loaded after. BPF has no
 * barrier for that before Linux 6.15, but its atomics that return a value are full
 * ones (for clang, only where the value is used). On machines that keep loads in
 * order, such as x86-64, the verifier finds that the condition never holds, and
 * takes it out.
 */
static __always_inline void read_barrier(void)
{
	if (config.weakly_ordered) {
		volatile __u64 nothing = 0;

		asm volatile("" : : "r"(__sync_fetch_and_add(&nothing, 0)) : "memory");
	}
}
