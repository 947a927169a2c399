// SPDX-License-Identifier: GPL-2.0-only
/* LPM tries with the keys of real programs: addresses, words, and members before or after them. */
#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define TRIE(name, key_type)				\
	struct {					\
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);	\
		__uint(map_flags, BPF_F_NO_PREALLOC);	\
		__uint(max_entries, 4096);		\
		__type(key, key_type);			\
		__type(value, struct counts);		\
	} name SEC(".maps")

struct counts {
	__u64 packets;
	__u64 bytes;
};

struct v4_key {
	__u32 prefixlen;
	__u8 addr[4];
};

struct v4_word_key {
	__u32 prefixlen;
	__u32 dst; /* in network byte order, whatever its type */
};

struct v6_key {
	__u32 prefixlen;
	struct in6_addr net;
};

struct v6_words_key {
	__u32 prefixlen;
	__be32 net[4];
};

/* As in bpf/samples: the kernel's own header, and the data after it. */
struct embedded_key {
	struct bpf_lpm_trie_key trie;
	__u8 data[4];
};

struct by_device_key {
	__u32 prefixlen;
	__u32 ifindex;
	__be32 saddr;
};

/* Cilium's policy: the prefix ends at the protocol, at the port or within it. */
struct policy_key {
	__u32 prefixlen;
	__u32 identity;
	__u8 egress : 1, pad : 7;
	__u8 proto;
	__be16 dport;
};

/* Cilium's ipcache: the address is a union. */
struct ipcache_key {
	__u32 prefixlen;
	__u16 cluster;
	__u8 pad;
	__u8 family;
	union {
		__be32 ip4;
		struct in6_addr ip6;
	};
};

struct mac_key {
	__u32 prefixlen;
	char mac[6];
};

TRIE(v4, struct v4_key);
TRIE(v4_word, struct v4_word_key);
TRIE(v6, struct v6_key);
TRIE(v6_words, struct v6_words_key);
TRIE(embedded, struct embedded_key);
TRIE(by_device, struct by_device_key);
TRIE(policy, struct policy_key);
TRIE(ipcache, struct ipcache_key);
TRIE(macs, struct mac_key);

SEC("xdp")
int use(struct xdp_md *ctx)
{
	void *tries[] = { &v4, &v4_word, &v6, &v6_words, &embedded, &by_device, &policy, &ipcache, &macs };
	char key[32] = {};

	(void)ctx;
	return bpf_map_lookup_elem(tries[0], key) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
