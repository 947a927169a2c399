/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The values of the maps: what the programs write and user space reads.
 *
 * The layout is a contract (bpf/README.md): fields are never moved, renamed or redefined.
 */
#ifndef XDP_PACKET_COUNTER_H
#define XDP_PACKET_COUNTER_H

#include <linux/types.h>
#include <stddef.h>

/* Always total_packets = tcp_packets + udp_packets + icmp_packets + other_packets. */
struct pkt_stats {
	__u64 total_packets; /* frames seen */
	__u64 total_bytes; /* their lengths, from the destination MAC address on, without the FCS */
	__u64 icmp_packets; /* ICMP over IPv4, ICMPv6 over IPv6 */
	__u64 tcp_packets;
	__u64 udp_packets;
	__u64 other_packets; /* no TCP, UDP or ICMP header in this frame */
	__u64 ipv4_packets; /* a complete IPv4 header, whatever follows */
	__u64 ipv6_packets; /* a complete IPv6 header, whatever follows */
};

_Static_assert(sizeof(struct pkt_stats) == 64, "struct pkt_stats is 8 counters of 8 bytes");
_Static_assert(offsetof(struct pkt_stats, total_packets) == 0, "total_packets moved");
_Static_assert(offsetof(struct pkt_stats, total_bytes) == 8, "total_bytes moved");
_Static_assert(offsetof(struct pkt_stats, icmp_packets) == 16, "icmp_packets moved");
_Static_assert(offsetof(struct pkt_stats, tcp_packets) == 24, "tcp_packets moved");
_Static_assert(offsetof(struct pkt_stats, udp_packets) == 32, "udp_packets moved");
_Static_assert(offsetof(struct pkt_stats, other_packets) == 40, "other_packets moved");
_Static_assert(offsetof(struct pkt_stats, ipv4_packets) == 48, "ipv4_packets moved");
_Static_assert(offsetof(struct pkt_stats, ipv6_packets) == 56, "ipv6_packets moved");

/* The value of sizes_map, in the object that counts lengths as well. */
#define PACKET_SIZE_SLOTS 17

struct packet_sizes {
	__u64 bytes; /* the sum of all lengths, as in pkt_stats */
	__u64 slots
		[PACKET_SIZE_SLOTS]; /* slot i: packets of 2^i to 2^(i+1)-1 bytes; the last: all longer ones */
};

_Static_assert(sizeof(struct packet_sizes) == 144, "struct packet_sizes is 18 counters of 8 bytes");
_Static_assert(offsetof(struct packet_sizes, slots) == 8, "slots moved");

#endif
