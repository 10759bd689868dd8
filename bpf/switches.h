/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is asked of the program while it runs, and costs nothing to packets that it does not concern. */
#pragma once

#include "packet.h"

/* One entry, zero until somebody turns a switch on. Written by the control plane through mapped memory, a word each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct switch_words);
	__uint(max_entries, 1);
} switches SEC(".maps");
