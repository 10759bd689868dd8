/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What the control plane notes in the kernel for the daemon, and the build, that
 * comes after it. The program touches none of it. Of the border between C and Go,
 * as types.h.
 */
#pragma once

#include <bpf/bpf_helpers.h>

#include "nat_types.h"

#define SERVICE_NAME_SIZE 64

/* Which service owns which slots. */
struct service {
	char name[SERVICE_NAME_SIZE];
	__u32 first_slot;
	__u32 slot_count;
	__u64 fingerprint;	/* of the members and weights that the slots were built from */
};

/* So that a new daemon can read whose the slots are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct service);
	__uint(max_entries, 1);
} services SEC(".maps");

/*
 * What the maps are laid out like, beside struct map_types. A new layout converts
 * by itself, field by field and by name; the version goes up only where the same
 * bytes come to mean something else, and then takeover.go says what becomes of them.
 */
enum layout_version {
	LAYOUT_VERSION = 3,	/* 1 had no map to say so; in 2 the ports of connections had other places */
};

struct layout {
	enum layout_version version;
	enum outcome outcomes;	/* these three are never read: their types keep the names of what was counted, */
	enum flow_event events;	/* which the kernel does not keep with maps whose keys they are, */
	enum connection_state states; /* and of what connections go through */
	__u64 secret;		/* tells whether flows were hashed with the same one; not the secret itself */
};

/*
 * The types of all maps' keys and values as BTF. The kernel keeps them, too, but
 * gives them by id alone, which takes CAP_SYS_ADMIN.
 */
#define MAP_TYPES_SIZE 16380

struct map_types {
	__u32 size;
	__u8 btf[MAP_TYPES_SIZE];
};

/* One value, as the next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct layout);
	__uint(max_entries, 1);
} layouts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct map_types);
	__uint(max_entries, 1);
} type_notes SEC(".maps");
