// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Maps whose field names collide, or suggest no counter. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct folded {
	struct {
		__u32 port;
	} src;
	__u32 src_port;
};

struct folded_value {
	struct {
		__u64 packets;
	} rx;
	__u64 rx_packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct folded);
	__type(value, struct folded_value);
} folded_map SEC(".maps");

enum state { STATE_OFF, STATE_ON };

struct countless {
	enum state state;
	char name[3];
	_Bool up;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct countless);
} countless_map SEC(".maps");

struct nothing {
	char name[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct nothing);
} nothing_map SEC(".maps");

SEC("xdp")
int use(struct xdp_md *context __attribute__((unused)))
{
	struct folded key = {};
	__u32 number = 0;

	bpf_map_lookup_elem(&folded_map, &key);
	bpf_map_lookup_elem(&countless_map, &number);
	bpf_map_lookup_elem(&nothing_map, &number);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
