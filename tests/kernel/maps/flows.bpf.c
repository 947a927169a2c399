// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A typical program of a user: packets by sender and protocol, in a hash of structs. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MORE_FRAGMENTS_AND_OFFSET 0x3fff

struct flow_key {
	__be32 saddr;
	__u8 proto;
};

struct flow_stats {
	__u64 packets;
	__u64 bytes;
	__u32 fragments;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow_key);
	__type(value, struct flow_stats);
} flows SEC(".maps");

SEC("xdp")
int xdp_flows(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (const void *)(eth + 1);
	const struct flow_stats none = {};
	struct flow_stats *stats;
	struct flow_key key = {};

	if ((const void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	key.saddr = ip->saddr;
	key.proto = ip->protocol;
	stats = bpf_map_lookup_elem(&flows, &key);
	if (!stats) {
		bpf_map_update_elem(&flows, &key, &none, BPF_ANY);
		stats = bpf_map_lookup_elem(&flows, &key);
		if (!stats)
			return XDP_PASS;
	}
	stats->packets++;
	stats->bytes += end - data;
	if (ip->frag_off & bpf_htons(MORE_FRAGMENTS_AND_OFFSET))
		stats->fragments++;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
