// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Another typical program: UDP by destination port and size, in a shared hash of narrow counters. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum size_class { SIZE_SMALL, SIZE_LARGE };

struct port_key {
	enum size_class size;
	__be16 dport;
	__u16 ifindex;
};

struct port_stats {
	__u32 frames;
	struct {
		__u64 octets;
	} total;
	__s64 balance;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct port_key);
	__type(value, struct port_stats);
} udp_ports SEC(".maps");

SEC("xdp")
int xdp_ports(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data;
	const void *end = (const void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (const void *)(eth + 1);
	const struct udphdr *udp = (const void *)(ip + 1);
	const struct port_stats none = {};
	struct port_stats *stats;
	struct port_key key = {};

	if ((const void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	key.size = end - data > 128 ? SIZE_LARGE : SIZE_SMALL;
	key.dport = udp->dest;
	key.ifindex = ctx->ingress_ifindex;
	bpf_map_update_elem(&udp_ports, &key, &none, BPF_NOEXIST);
	stats = bpf_map_lookup_elem(&udp_ports, &key);
	if (!stats)
		return XDP_PASS;
	__sync_fetch_and_add(&stats->frames, 1);
	__sync_fetch_and_add(&stats->total.octets, end - data);
	__sync_fetch_and_add(&stats->balance, key.size == SIZE_LARGE ? 1 : -1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
