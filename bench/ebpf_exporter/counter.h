/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A map for ebpf_exporter: a u64 per key. Without a program; the benchmark fills it through bpf(2). */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define COUNTER(name)                                    \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_HASH);  \
		__uint(max_entries, 100000);             \
		__type(key, __u32);                      \
		__type(value, __u64);                    \
	} name SEC(".maps")
