// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Counts every frame of an interface by protocol and lets it pass.
 *
 * What each kind of frame counts as, and why, is the table in README.md.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "xdp_packet_counter.h"

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSION_HEADERS 8

/* The shortest transport headers, as the kernel's own receivers require them. */
#define TCP_HEADER_BYTES 20
#define UDP_HEADER_BYTES 8
#define ICMP_HEADER_BYTES 8

#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_FRAGMENT_OFFSET 0xfff8

/* IPv6 extension headers in IANA's registry that the uapi headers lack. */
#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140

struct vlan_tag {
	__be16 tci;
	__be16 ethertype; /* of what follows the tag */
};

/* The first 8 bytes of an extension header: none is shorter. */
struct extension_header {
	__u8 next_header;
	__u8 length; /* beyond these 8 bytes, in units of 8 bytes (AH: 4); fragment header: reserved */
	__be16 fragment_offset; /* in a fragment header only */
	__u8 rest[4];
};

/*
 * Key: 0. Value: everything counted since the program was loaded, one record for each possible CPU.
 * Writer: the programs below, each CPU its own record. XDP runs in softirq, where no other XDP program
 * interrupts it on the same CPU, so plain additions lose nothing.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pkt_stats);
} stats_map SEC(".maps");

enum transport { TCP, UDP, ICMP, OTHER };

/* How headers are read. Always a compile-time constant, so each way gets its own code. */
enum reading {
	LINEAR, /* in place; the whole frame is linear */
	COPIED, /* from a copy made by a helper, wherever they are in the frame */
};

/* Where the next header is. */
struct cursor {
	enum reading reading;
	struct xdp_md *ctx;
	__u64 frame_bytes;
	__u64 offset; /* from the first byte of the frame */
	void *header; /* LINEAR only */
	void *linear_end; /* LINEAR only */
};

/* Reads the header at the cursor and moves past it; false if the frame ends first. */
static __always_inline bool read_header(struct cursor *cur, void *header, __u32 size)
{
	void *from = cur->header;

	cur->offset += size;
	cur->header += size;
	if (cur->reading == COPIED)
		return bpf_xdp_load_bytes(cur->ctx, cur->offset - size, header, size) == 0;
	if (cur->header > cur->linear_end)
		return false;
	/* Addresses are even, as in the network stack; without this, clang loads byte by byte. */
	__builtin_memcpy(header, __builtin_assume_aligned(from, 2), size);
	return true;
}

/* Only LINEAR adds a variable to a packet pointer, which needs CAP_PERFMON. */
static __always_inline void skip(struct cursor *cur, __u32 bytes)
{
	cur->offset += bytes;
	if (cur->reading == LINEAR)
		cur->header += bytes;
}

/* Only the presence of a transport header matters, so it is not read. */
static __always_inline enum transport transport_at(const struct cursor *cur, __u8 protocol, __u8 icmp)
{
	if (protocol == IPPROTO_TCP && cur->offset + TCP_HEADER_BYTES <= cur->frame_bytes)
		return TCP;
	if (protocol == IPPROTO_UDP && cur->offset + UDP_HEADER_BYTES <= cur->frame_bytes)
		return UDP;
	if (protocol == icmp && cur->offset + ICMP_HEADER_BYTES <= cur->frame_bytes)
		return ICMP;
	return OTHER;
}

static __always_inline enum transport ipv4_transport(struct cursor *cur, struct pkt_stats *stats)
{
	struct iphdr ip;

	if (!read_header(cur, &ip, sizeof(ip)))
		return OTHER;
	if (ip.version != 4 || ip.ihl < 5)
		return OTHER;
	stats->ipv4_packets++;
	if (ip.frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return OTHER;
	skip(cur, ip.ihl * 4 - sizeof(ip));
	return transport_at(cur, ip.protocol, IPPROTO_ICMP);
}

static __always_inline bool is_extension(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case IPPROTO_HIP:
	case IPPROTO_SHIM6:
		return true;
	default:
		return false;
	}
}

/* Moves past the extension headers to the header of *protocol*; false if this frame does not contain it. */
static __always_inline bool skip_extensions(struct cursor *cur, __u8 *protocol)
{
	struct extension_header extension;

	/* Unrolled: without CAP_PERFMON, 6.12's verifier follows mispredictions and never leaves a loop. */
#pragma unroll
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		if (!is_extension(*protocol))
			return true;
		if (!read_header(cur, &extension, sizeof(extension)))
			return false;
		if (*protocol == IPPROTO_FRAGMENT) {
			if (extension.fragment_offset & bpf_htons(IPV6_FRAGMENT_OFFSET))
				return false;
		} else {
			skip(cur, extension.length * (*protocol == IPPROTO_AH ? 4 : 8));
		}
		*protocol = extension.next_header;
	}
	return true;
}

static __always_inline enum transport ipv6_transport(struct cursor *cur, struct pkt_stats *stats)
{
	struct ipv6hdr ip;

	if (!read_header(cur, &ip, sizeof(ip)))
		return OTHER;
	if (ip.version != 6)
		return OTHER;
	stats->ipv6_packets++;
	if (!skip_extensions(cur, &ip.nexthdr))
		return OTHER;
	return transport_at(cur, ip.nexthdr, IPPROTO_ICMPV6);
}

static __always_inline bool is_vlan(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

static __always_inline bool skip_vlan_tags(struct cursor *cur, __be16 *ethertype)
{
	struct vlan_tag tag;

	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(*ethertype); i++) {
		if (!read_header(cur, &tag, sizeof(tag)))
			return false;
		*ethertype = tag.ethertype;
	}
	return true;
}

/* Counts the frame as IPv4, IPv6 or neither. */
static __always_inline enum transport frame_transport(struct xdp_md *ctx, enum reading reading,
						      __u64 frame_bytes, struct pkt_stats *stats)
{
	struct cursor cur = {
		.reading = reading,
		.ctx = ctx,
		.frame_bytes = frame_bytes,
		.header = (void *)(long)ctx->data,
		.linear_end = (void *)(long)ctx->data_end,
	};
	struct ethhdr ethernet;
	__be16 ethertype;

	if (!read_header(&cur, &ethernet, sizeof(ethernet)))
		return OTHER;
	ethertype = ethernet.h_proto;
	if (!skip_vlan_tags(&cur, &ethertype))
		return OTHER;
	if (ethertype == bpf_htons(ETH_P_IP))
		return ipv4_transport(&cur, stats);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return ipv6_transport(&cur, stats);
	return OTHER;
}

static __always_inline void count_frame(__u64 frame_bytes, struct pkt_stats *stats)
{
	stats->total_packets++;
	stats->total_bytes += frame_bytes;
}

/*
 * Each barrier keeps the compiler (clang 14) from merging the additions into one at a variable offset in the
 * record, which the verifier rejects without CAP_PERFMON.
 */
static __always_inline void count_transport(enum transport transport, struct pkt_stats *stats)
{
	switch (transport) {
	case TCP:
		stats->tcp_packets++;
		barrier();
		break;
	case UDP:
		stats->udp_packets++;
		barrier();
		break;
	case ICMP:
		stats->icmp_packets++;
		barrier();
		break;
	default:
		stats->other_packets++;
		barrier();
	}
}

/*
 * Here and below, barrier_var() keeps the compiler from turning all comparisons into one switch, and from computing
 * early what only rarer frames need: the most common frames are tested first and should run straight through, since
 * each jump taken costs up to 1 ns.
 */

/* Counts a packet with at least TCP_HEADER_BYTES after its IP header. */
static __always_inline void count_protocol(__u8 protocol, __u8 icmp, struct pkt_stats *stats)
{
	if (protocol == IPPROTO_TCP) {
		count_transport(TCP, stats);
		return;
	}
	barrier_var(protocol);
	if (protocol == IPPROTO_UDP)
		count_transport(UDP, stats);
	else
		count_transport(protocol == icmp ? ICMP : OTHER, stats);
}

static __always_inline bool count_plain_ipv4(void *header, void *linear_end, struct pkt_stats *stats)
{
	struct iphdr *ip = header;

	/* Version and length in one byte: no options. */
	if (header + sizeof(*ip) + TCP_HEADER_BYTES > linear_end || *(__u8 *)header != 0x45)
		return false;
	stats->ipv4_packets++;
	if (!(ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET)))
		count_protocol(ip->protocol, IPPROTO_ICMP, stats);
	else
		count_transport(OTHER, stats);
	return true;
}

static __always_inline bool count_plain_ipv6(void *header, void *linear_end, struct pkt_stats *stats)
{
	struct ipv6hdr *ip = header;
	__u8 protocol;

	if (header + sizeof(*ip) + TCP_HEADER_BYTES > linear_end || ip->version != 6)
		return false;
	protocol = ip->nexthdr;
	if (protocol != IPPROTO_TCP) {
		barrier_var(protocol);
		if (is_extension(protocol))
			return false;
	}
	stats->ipv6_packets++;
	count_protocol(protocol, IPPROTO_ICMPV6, stats);
	return true;
}

/* The Ethernet header and a VLAN tag both end with the EtherType of what follows. */
static __always_inline __be16 ethertype_before(void *header)
{
	return ((__be16 *)header)[-1];
}

/*
 * Counts nearly every frame: headers of fixed size, read in place in the linear part. False if the frame is left to
 * count_copied().
 *
 * One comparison covers the headers of TCP over IPv4, two tags and an IPv4 header, or an IPv6 header.
 */
static __always_inline bool count_plain(struct xdp_md *ctx, struct pkt_stats *stats)
{
	void *linear_end = (void *)(long)ctx->data_end;
	void *frame = (void *)(long)ctx->data;
	void *header = frame + sizeof(struct ethhdr);
	__be16 ethertype;

	if (header + sizeof(struct iphdr) + TCP_HEADER_BYTES > linear_end)
		return false;
	ethertype = ethertype_before(header);
	/* Tested here and again below, so that the most common frames skip the search for tags. */
	if (ethertype == bpf_htons(ETH_P_IP))
		return count_plain_ipv4(header, linear_end, stats);
	barrier_var(ethertype);
	barrier_var(frame);
	header = frame + sizeof(struct ethhdr);
	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(ethertype); i++) {
		header += sizeof(struct vlan_tag);
		ethertype = ethertype_before(header);
	}
	if (ethertype == bpf_htons(ETH_P_IP))
		return count_plain_ipv4(header, linear_end, stats);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return count_plain_ipv6(header, linear_end, stats);
	count_transport(OTHER, stats);
	return true;
}

/* Not inlined, to leave the registers to the caller, which handles most frames. */
static __noinline void count_copied(struct xdp_md *ctx, __u64 frame_bytes, struct pkt_stats *stats)
{
	count_transport(frame_transport(ctx, COPIED, frame_bytes, stats), stats);
}

/*
 * Never NULL, since an array has all its entries, but the verifier of older kernels does not know that. The key is a
 * constant in .rodata: on the stack it would cost programs loaded without CAP_PERFMON a speculation barrier (20 ns).
 */
static __always_inline struct pkt_stats *stats_of_this_cpu(void)
{
	static const __u32 key = 0;

	return bpf_map_lookup_elem(&stats_map, &key);
}

/* For kernels with multi-buffer XDP (5.18 or newer): a frame may continue in fragments after its linear part. */
SEC("xdp.frags")
int xdp_count_frags(struct xdp_md *ctx)
{
	struct pkt_stats *stats = stats_of_this_cpu();
	__u64 frame_bytes;

	if (!stats)
		return XDP_PASS;
	frame_bytes = bpf_xdp_get_buff_len(ctx);
	count_frame(frame_bytes, stats);
	if (!count_plain(ctx, stats))
		count_copied(ctx, frame_bytes, stats);
	return XDP_PASS;
}

/* For kernels without multi-buffer XDP. */
SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	struct pkt_stats *stats = stats_of_this_cpu();
	__u64 frame_bytes;

	if (!stats)
		return XDP_PASS;
	frame_bytes = ctx->data_end - ctx->data;
	count_frame(frame_bytes, stats);
	count_transport(frame_transport(ctx, LINEAR, frame_bytes, stats), stats);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
