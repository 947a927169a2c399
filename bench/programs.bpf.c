// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The references for the shipped program. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "xdp_packet_counter.h"

/* The original demo's map: one record for all CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pkt_stats);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pkt_stats);
} per_cpu SEC(".maps");

static const __u32 zero = 0;

SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("tc")
int tcx_empty(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_UNSPEC;
}

/* The minimal cost of an exact counter of packets and bytes, without looking at the frame. */
SEC("xdp.frags")
int packets_and_bytes(struct xdp_md *ctx)
{
	struct pkt_stats *stats = bpf_map_lookup_elem(&per_cpu, &zero);

	if (stats) {
		stats->total_packets++;
		stats->total_bytes += bpf_xdp_get_buff_len(ctx);
	}
	return XDP_PASS;
}

static __always_inline void add(__u64 *counter, __u64 count)
{
	__sync_fetch_and_add(counter, count);
}

/* The original demo's design: headers at usual offsets, atomic additions to a record shared by all CPUs. */
SEC("xdp.frags")
int shared_atomics(struct xdp_md *ctx)
{
	struct pkt_stats *stats = bpf_map_lookup_elem(&shared, &zero);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	__u8 protocol = 0;

	if (!stats)
		return XDP_PASS;
	add(&stats->total_packets, 1);
	add(&stats->total_bytes, bpf_xdp_get_buff_len(ctx));
	if (data + sizeof(*ethernet) + sizeof(struct iphdr) <= end &&
	    ethernet->h_proto == bpf_htons(ETH_P_IP)) {
		add(&stats->ipv4_packets, 1);
		protocol = ((struct iphdr *)(ethernet + 1))->protocol;
	} else if (data + sizeof(*ethernet) + sizeof(struct ipv6hdr) <= end &&
		   ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
		add(&stats->ipv6_packets, 1);
		protocol = ((struct ipv6hdr *)(ethernet + 1))->nexthdr;
	}
	if (protocol == IPPROTO_TCP)
		add(&stats->tcp_packets, 1);
	else if (protocol == IPPROTO_UDP)
		add(&stats->udp_packets, 1);
	else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		add(&stats->icmp_packets, 1);
	else
		add(&stats->other_packets, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
