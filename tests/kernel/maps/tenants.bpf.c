// SPDX-License-Identifier: GPL-2.0-only
/* Maps in maps: packets by protocol in a map of each tenant, and one counter in each slot of an array. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct counts {
	__u64 packets;
	__u64 bytes;
};

struct by_protocol {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct counts);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__array(values, struct by_protocol);
} tenants SEC(".maps") = {
	.values = { [1] = &first, [2] = &second },
};

struct counter {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1000);
	__type(key, __u32);
	__array(values, struct counter);
} slots SEC(".maps") = {
	.values = { [700] = &slot },
};

static __always_inline void count(void *map, __u32 key, __u64 bytes)
{
	const struct counts none = {};
	struct counts *counts = bpf_map_lookup_elem(map, &key);

	if (!counts) {
		bpf_map_update_elem(map, &key, &none, BPF_ANY);
		counts = bpf_map_lookup_elem(map, &key);
	}
	if (counts) {
		__sync_fetch_and_add(&counts->packets, 1);
		__sync_fetch_and_add(&counts->bytes, bytes);
	}
}

/* The first byte of the frame is the tenant, and the number of the slot is 700. */
SEC("xdp")
int by_tenant(struct xdp_md *ctx)
{
	const __u8 *data = (const void *)(long)ctx->data;
	const __u8 *end = (const void *)(long)ctx->data_end;
	__u32 tenant, place = 700;
	void *map;

	if (data + 1 > end)
		return XDP_ABORTED;
	tenant = data[0];
	map = bpf_map_lookup_elem(&tenants, &tenant);
	if (map)
		count(map, 6, end - data);
	map = bpf_map_lookup_elem(&slots, &place);
	if (map)
		count(map, 0, end - data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
