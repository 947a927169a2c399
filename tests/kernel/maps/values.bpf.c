// SPDX-License-Identifier: GPL-2.0
/* Values that hold more than counters: arrays of structs, grids, thousands of elements. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct queue {
	__u64 packets;
	__u32 bytes, drops;
};

struct queues {
	__u64 packets;
	struct queue queues[1500];
	__u16 grid[256][7];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct queues);
} queue_map SEC(".maps");

struct flow {
	__be32 saddr[4];
	__u32 host;
	__u8 daddr[16];
	__u64 mac;
	__u64 cgroup;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct flow);
	__type(value, __u64);
} flow_map SEC(".maps");

enum phase { IDLE, BUSY, DRAINED };

struct gauges {
	__u64 packets, last_seen, first_seen;
	__s32 level;
	enum phase phase;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct gauges);
} gauge_map SEC(".maps");

struct process {
	__u64 packets;
	char comm[16];
	__u8 daddr[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct process);
} process_map SEC(".maps");
