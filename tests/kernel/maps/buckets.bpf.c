// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Counts in buckets, as bcc and ebpf_exporter keep them, and rows that mean different things. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define MAP(name, map_type, entries, key_type, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_##map_type); \
		__uint(max_entries, entries); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

enum verdict { PASSED, DROPPED, OPEN };

struct hist {
	__u32 slots[27];
	char comm[16];
};

struct latency_key {
	__u32 dev;
	__u8 op;
	__u64 bucket;
};

MAP(verdicts, HASH, 8, enum verdict, __u64);
MAP(dist, PERCPU_ARRAY, 64, __u32, __u64);
MAP(runq, HASH, 64, __u32, struct hist);
MAP(bio_latency, HASH, 1024, struct latency_key, __u64);

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct latency_key latency = {};

	(void)ctx;
	bpf_map_lookup_elem(&verdicts, &key);
	bpf_map_lookup_elem(&dist, &key);
	bpf_map_lookup_elem(&runq, &key);
	bpf_map_lookup_elem(&bio_latency, &latency);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
