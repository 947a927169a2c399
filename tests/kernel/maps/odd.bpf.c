// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Maps with every odd key and value that C can declare; the program fills one record with known numbers. */
#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HASH(name, key_type, value_type) \
	struct { \
		__uint(type, BPF_MAP_TYPE_HASH); \
		__uint(max_entries, 64); \
		__type(key, key_type); \
		__type(value, value_type); \
	} name SEC(".maps")

enum verdict { VERDICT_BAD = -1, VERDICT_NONE, VERDICT_GOOD };
enum wide { WIDE_LOW, WIDE_HIGH = 1ULL << 40 };

struct packed_key {
	__u8 protocol;
	__be32 address;
	__be16 port;
} __attribute__((packed));

struct packed {
	__u8 a;
	__u64 b;
	__u16 c;
	__s32 d;
} __attribute__((packed));

struct padded {
	__u8 a;
	__u64 b;
	__u16 c;
} __attribute__((aligned(64)));

struct bits {
	__u32 a : 3;
	__u32 b : 13;
	__u32 : 5;
	__s32 c : 7;
	__u64 d : 40;
	enum verdict e : 2;
	__u8 f;
	__u64 g : 9, h : 55;
};

struct queue {
	__u64 packets;
	__u32 drops;
};

struct nested {
	struct queue q[3];
	__u16 grid[2][3];
	struct {
		__u32 plain;
		struct {
			__u64 inner;
		} deep;
	};
	struct {} nothing;
	volatile const __u32 last;
	__u8 rest[];
};

struct record {
	union {
		__u64 packets;
		__u64 rx_packets;
	};
	union {
		__u64 bytes;
		__u64 rx_bytes;
	};
};

struct unions {
	struct record record;
	union {
		__u64 a;
		__u64 b;
	} same;
	union {
		__u64 all;
		struct queue parts;
		__u8 raw[16];
	} other;
};

struct numbers {
	__u8 u8;
	__s8 s8;
	__u16 u16;
	__s16 s16;
	__u32 u32;
	__s32 s32;
	__u64 u64;
	__s64 s64;
	__be16 be16;
	__be32 be32;
	__be64 be64;
	char letter;
	bool yes;
	enum verdict verdict;
	enum wide wide;
	long plain_long;
	void *pointer;
};

struct flow {
	struct in6_addr source;
	__u8 mac[6];
	char name[10];
	__be16 ports[2];
	enum verdict verdict;
};

struct locked {
	struct bpf_spin_lock lock;
	__u64 packets;
};

typedef __u64 four[4];

HASH(packed_map, struct packed_key, struct packed);
HASH(padded_map, __u32, struct padded);
HASH(bits_map, __u64, struct bits);
HASH(nested_map, __u16, struct nested);
HASH(unions_map, __s32, struct unions);
HASH(numbers_map, struct in6_addr, struct numbers);
HASH(flow_map, struct flow, __u64);
HASH(four_map, enum verdict, four);
HASH(locked_map, bool, struct locked);
HASH(bare_map, __be16, __s8);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, struct record);
} xdp_stats_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 12);
} plain_map SEC(".maps");

volatile __u64 seen;
static volatile __s32 balance;

SEC("xdp")
int fill(struct xdp_md *ctx __attribute__((unused)))
{
	const __u64 key = 7;
	const struct bits bits = {.a = 5, .b = 0x1abc, .c = -37, .d = 0x123456789a, .e = VERDICT_BAD,
				  .f = 200, .g = 0x155, .h = 0x2bcdef01234567};
	const struct packed_key packed_key = {17, bpf_htonl(0x0a000001), bpf_htons(53)};
	const struct packed packed = {255, 1ULL << 63, 0xfedc, -2};

	bpf_map_update_elem(&bits_map, &key, &bits, BPF_ANY);
	bpf_map_update_elem(&packed_map, &packed_key, &packed, BPF_ANY);
	seen += 3;
	balance -= 4;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
