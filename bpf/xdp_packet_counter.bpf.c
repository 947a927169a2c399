// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Counts every frame of an interface by protocol and lets it pass: received frames in XDP, transmitted ones at the
 * egress hook of TCX. One parser serves both.
 *
 * What each kind of frame counts as, and why, is the table in README.md.
 *
 * Compiled twice: PACKET_SIZES adds a histogram of lengths, for which not everyone wants to pay.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
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

#define LONGEST_SKIP 2048 /* bytes: more than the 255 units of 8 of an extension header; a power of two */

#define TCP_DATA_OFFSET 12 /* of the byte that has the header's length */

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
 * Writer: one of the programs below, each CPU its own record. XDP runs in softirq and TCX with softirqs disabled, so
 * neither is interrupted by itself on the same CPU, and plain additions lose nothing.
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
	COPIED_FROM_XDP, /* from a copy made by a helper, wherever they are in the frame */
	COPIED_FROM_SKB,
};

/* Where the next header is. */
struct cursor {
	enum reading reading;
	void *ctx; /* of the program: struct xdp_md or struct __sk_buff */
	__u64 packets; /* that the frame becomes on the wire: more than 1 only before segmentation */
	__u64 frame_bytes;
	__u64 offset; /* from the first byte of the frame */
	void *header; /* LINEAR only */
	void *linear_end; /* LINEAR only */
	__u32 tags_left; /* VLAN tags that may follow */
};

/* Reads the header at the cursor and moves past it; false if the frame ends first. */
static __always_inline bool read_header(struct cursor *cur, void *header, __u32 size)
{
	void *from = cur->header;

	cur->offset += size;
	cur->header += size;
	if (cur->reading == COPIED_FROM_XDP)
		return bpf_xdp_load_bytes(cur->ctx, cur->offset - size, header, size) == 0;
	if (cur->reading == COPIED_FROM_SKB)
		return bpf_skb_load_bytes(cur->ctx, cur->offset - size, header, size) == 0;
	if (cur->header > cur->linear_end)
		return false;
	/* Addresses are even, as in the network stack; without this, clang loads byte by byte. */
	__builtin_memcpy(header, __builtin_assume_aligned(from, 2), size);
	return true;
}

/*
 * Only LINEAR adds a variable to a packet pointer, which needs CAP_PERFMON. The mask changes nothing: it is for the
 * verifier of 5.10, which loses the bounds of a byte that clang cuts out of a larger word.
 */
static __always_inline void skip(struct cursor *cur, __u32 bytes)
{
	cur->offset += bytes;
	if (cur->reading == LINEAR) {
		barrier_var(bytes);
		cur->header += bytes & (LONGEST_SKIP - 1);
	}
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
	stats->ipv4_packets += cur->packets;
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
	stats->ipv6_packets += cur->packets;
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

	for (__u32 i = 0; i < MAX_VLAN_TAGS && i < cur->tags_left && is_vlan(*ethertype); i++) {
		if (!read_header(cur, &tag, sizeof(tag)))
			return false;
		*ethertype = tag.ethertype;
	}
	return true;
}

/* Counts the frame as IPv4, IPv6 or neither; leaves the cursor behind the last header that it read. */
static __always_inline enum transport frame_transport(struct cursor *cur, struct pkt_stats *stats)
{
	struct ethhdr ethernet;
	__be16 ethertype;

	if (!read_header(cur, &ethernet, sizeof(ethernet)))
		return OTHER;
	ethertype = ethernet.h_proto;
	if (!skip_vlan_tags(cur, &ethertype))
		return OTHER;
	if (ethertype == bpf_htons(ETH_P_IP))
		return ipv4_transport(cur, stats);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return ipv6_transport(cur, stats);
	return OTHER;
}

static __always_inline void count_frame(__u64 packets, __u64 bytes, struct pkt_stats *stats)
{
	stats->total_packets += packets;
	stats->total_bytes += bytes;
}

/*
 * Each barrier keeps the compiler (clang 14) from merging the additions into one at a variable offset in the
 * record, which the verifier rejects without CAP_PERFMON.
 */
static __always_inline void count_transport(enum transport transport, __u64 packets, struct pkt_stats *stats)
{
	switch (transport) {
	case TCP:
		stats->tcp_packets += packets;
		barrier();
		break;
	case UDP:
		stats->udp_packets += packets;
		barrier();
		break;
	case ICMP:
		stats->icmp_packets += packets;
		barrier();
		break;
	default:
		stats->other_packets += packets;
		barrier();
	}
}

/*
 * Here and below, barrier_var() keeps the compiler from turning all comparisons into one switch, and from computing
 * early what only rarer frames need: the most common frames are tested first and should run straight through, since
 * each jump taken costs up to 1 ns.
 */

/* Counts a packet with at least TCP_HEADER_BYTES after its IP header. */
static __always_inline void count_protocol(__u8 protocol, __u8 icmp, __u64 packets, struct pkt_stats *stats)
{
	if (protocol == IPPROTO_TCP) {
		count_transport(TCP, packets, stats);
		return;
	}
	barrier_var(protocol);
	if (protocol == IPPROTO_UDP)
		count_transport(UDP, packets, stats);
	else
		count_transport(protocol == icmp ? ICMP : OTHER, packets, stats);
}

static __always_inline bool count_plain_ipv4(void *header, void *linear_end, __u64 packets,
					     struct pkt_stats *stats)
{
	struct iphdr *ip = header;

	/* Version and length in one byte: no options. */
	if (header + sizeof(*ip) + TCP_HEADER_BYTES > linear_end || *(__u8 *)header != 0x45)
		return false;
	stats->ipv4_packets += packets;
	if (!(ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET)))
		count_protocol(ip->protocol, IPPROTO_ICMP, packets, stats);
	else
		count_transport(OTHER, packets, stats);
	return true;
}

static __always_inline bool count_plain_ipv6(void *header, void *linear_end, __u64 packets,
					     struct pkt_stats *stats)
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
	stats->ipv6_packets += packets;
	count_protocol(protocol, IPPROTO_ICMPV6, packets, stats);
	return true;
}

/* The Ethernet header and a VLAN tag both end with the EtherType of what follows. */
static __always_inline __be16 ethertype_before(void *header)
{
	return ((__be16 *)header)[-1];
}

/*
 * Counts nearly every frame: headers of fixed size, read in place in the linear part. False if the frame is left to
 * be counted by copies of its headers.
 *
 * One comparison covers the headers of TCP over IPv4, two tags and an IPv4 header, or an IPv6 header.
 */
static __always_inline bool count_plain(void *frame, void *linear_end, __u32 tags_left, __u64 packets,
					struct pkt_stats *stats)
{
	void *header = frame + sizeof(struct ethhdr);
	__be16 ethertype;

	if (header + sizeof(struct iphdr) + TCP_HEADER_BYTES > linear_end)
		return false;
	ethertype = ethertype_before(header);
	/* Tested here and again below, so that the most common frames skip the search for tags. */
	if (ethertype == bpf_htons(ETH_P_IP))
		return count_plain_ipv4(header, linear_end, packets, stats);
	barrier_var(ethertype);
	barrier_var(frame);
	header = frame + sizeof(struct ethhdr);
	for (__u32 i = 0; i < MAX_VLAN_TAGS && i < tags_left && is_vlan(ethertype); i++) {
		header += sizeof(struct vlan_tag);
		ethertype = ethertype_before(header);
	}
	if (ethertype == bpf_htons(ETH_P_IP))
		return count_plain_ipv4(header, linear_end, packets, stats);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return count_plain_ipv6(header, linear_end, packets, stats);
	count_transport(OTHER, packets, stats);
	return true;
}

/* Not inlined, to leave the registers to the caller, which handles most frames. */
static __noinline void count_copied_from_xdp(struct xdp_md *ctx, __u64 frame_bytes, struct pkt_stats *stats)
{
	struct cursor cur = {
		.reading = COPIED_FROM_XDP,
		.ctx = ctx,
		.packets = 1,
		.frame_bytes = frame_bytes,
		.tags_left = MAX_VLAN_TAGS,
	};

	count_transport(frame_transport(&cur, stats), 1, stats);
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

#ifdef PACKET_SIZES
/* Key: 0. Value: the lengths of everything counted in stats_map, which is written alike. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_sizes);
} sizes_map SEC(".maps");

static __always_inline struct packet_sizes *sizes_of_this_cpu(void)
{
	static const __u32 key = 0;

	return bpf_map_lookup_elem(&sizes_map, &key);
}

/* 1 if *bytes* is larger than *limit*, computed without a jump: see slot_of(). */
static __always_inline __u64 exceeds(__u64 bytes, __u64 limit)
{
	__u64 difference = limit - bytes;

	barrier_var(difference);
	return difference >> 63;
}

/*
 * The binary logarithm, rounded down; at most that of the last slot.
 *
 * Without a jump, since what the verifier knows of an index must be the same on all paths where CAP_PERFMON is missing.
 */
static __always_inline __u64 slot_of(__u64 bytes)
{
	__u64 slot, shift;

	slot = exceeds(bytes, 0xffff) << 4;
	/* By 32 bits: nothing is left that could make it more than the last slot. */
	bytes >>= 2 * slot;
	shift = exceeds(bytes, 0xff) << 3;
	bytes >>= shift;
	slot |= shift;
	shift = exceeds(bytes, 0xf) << 2;
	bytes >>= shift;
	slot |= shift;
	shift = exceeds(bytes, 0x3) << 1;
	bytes >>= shift;
	slot |= shift;
	return slot | exceeds(bytes, 1);
}

static __always_inline void count_lengths(__u64 packets, __u64 bytes, struct packet_sizes *sizes)
{
	__u64 slot = slot_of(bytes);

	if (slot < PACKET_SIZE_SLOTS)
		sizes->slots[slot] += packets;
}

static __always_inline void count_length(__u64 frame_bytes)
{
	struct packet_sizes *sizes = sizes_of_this_cpu();

	if (!sizes)
		return;
	sizes->bytes += frame_bytes;
	count_lengths(1, frame_bytes, sizes);
}

/* All segments have the same length except the last; the kernel has added the headers of all but one to wire_len. */
static __noinline void count_segment_lengths(struct __sk_buff *skb, __u64 packets, __u64 bytes)
{
	struct packet_sizes *sizes = sizes_of_this_cpu();
	__u64 others = packets - 1, length = skb->gso_size;

	if (!sizes || !others)
		return;
	length += (skb->wire_len - skb->len) / others;
	if (skb->vlan_present)
		length += sizeof(struct vlan_tag);
	sizes->bytes += bytes;
	count_lengths(others, length, sizes);
	count_lengths(1, bytes > others * length ? bytes - others * length : length, sizes);
}
#else
static __always_inline void count_length(__u64 frame_bytes)
{
	(void)frame_bytes;
}

static __always_inline void count_segment_lengths(struct __sk_buff *skb, __u64 packets, __u64 bytes)
{
	(void)skb;
	(void)packets;
	(void)bytes;
}
#endif

/* For kernels with multi-buffer XDP (5.18 or newer): a frame may continue in fragments after its linear part. */
SEC("xdp.frags")
int xdp_count_frags(struct xdp_md *ctx)
{
	struct pkt_stats *stats = stats_of_this_cpu();
	__u64 frame_bytes;

	if (!stats)
		return XDP_PASS;
	frame_bytes = bpf_xdp_get_buff_len(ctx);
	count_frame(1, frame_bytes, stats);
	count_length(frame_bytes);
	if (!count_plain((void *)(long)ctx->data, (void *)(long)ctx->data_end, MAX_VLAN_TAGS, 1, stats))
		count_copied_from_xdp(ctx, frame_bytes, stats);
	return XDP_PASS;
}

/* For kernels without multi-buffer XDP. */
SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	struct pkt_stats *stats = stats_of_this_cpu();
	struct cursor cur = {
		.reading = LINEAR,
		.packets = 1,
		.frame_bytes = ctx->data_end - ctx->data,
		.header = (void *)(long)ctx->data,
		.linear_end = (void *)(long)ctx->data_end,
		.tags_left = MAX_VLAN_TAGS,
	};

	if (!stats)
		return XDP_PASS;
	count_frame(1, cur.frame_bytes, stats);
	count_length(cur.frame_bytes);
	count_transport(frame_transport(&cur, stats), 1, stats);
	return XDP_PASS;
}

/* The tag that the kernel keeps beside the frame, until the network card or segmentation inserts it, is one of them. */
static __always_inline __u32 tags_left_in(const struct __sk_buff *skb)
{
	return skb->vlan_present ? MAX_VLAN_TAGS - 1 : MAX_VLAN_TAGS;
}

static __noinline void count_copied_from_skb(struct __sk_buff *skb, __u64 packets, struct pkt_stats *stats)
{
	struct cursor cur = {
		.reading = COPIED_FROM_SKB,
		.ctx = skb,
		.packets = packets,
		.frame_bytes = skb->len,
		.tags_left = tags_left_in(skb),
	};

	count_transport(frame_transport(&cur, stats), packets, stats);
}

/*
 * The number of segments of a packet that a virtual machine left to us to segment (SKB_GSO_DODGY): the kernel counts
 * them only after TCX, as tcp_gso_segment() and __udp_gso_segment() do.
 */
static __noinline __u64 count_segments(struct __sk_buff *skb)
{
	struct cursor cur = {
		.reading = COPIED_FROM_SKB,
		.ctx = skb,
		.frame_bytes = skb->len,
		.tags_left = tags_left_in(skb),
	};
	struct pkt_stats unused = {};
	enum transport transport = frame_transport(&cur, &unused);
	__u32 size = skb->gso_size, headers = cur.offset + UDP_HEADER_BYTES;
	__u8 data_offset;

	if (transport == TCP) {
		if (bpf_skb_load_bytes(skb, cur.offset + TCP_DATA_OFFSET, &data_offset, sizeof(data_offset)))
			return 1;
		headers = cur.offset + (data_offset >> 4) * 4;
	} else if (transport != UDP) {
		return 1;
	}
	if (!size || skb->len <= headers)
		return 1;
	return (skb->len - headers + size - 1) / size;
}

/* Transmitted frames, before segmentation. TCX_NEXT, by a name that headers before Linux 6.6 have as well. */
SEC("tcx/egress")
int tcx_count(struct __sk_buff *skb)
{
	struct pkt_stats *stats = stats_of_this_cpu();
	__u64 packets = skb->gso_segs, bytes = skb->wire_len;

	if (!stats)
		return TC_ACT_UNSPEC;
	if (!packets)
		packets = skb->gso_size ? count_segments(skb) : 1;
	if (skb->vlan_present)
		bytes += packets * sizeof(struct vlan_tag);
	count_frame(packets, bytes, stats);
	if (packets == 1)
		count_length(bytes);
	else
		count_segment_lengths(skb, packets, bytes);
	if (!count_plain((void *)(long)skb->data, (void *)(long)skb->data_end, tags_left_in(skb), packets,
			 stats))
		count_copied_from_skb(skb, packets, stats);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
