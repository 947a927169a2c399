// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Maps that libbpf creates without types: the kernel refuses an array whose key is an enum. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum verdict { VERDICT_PASS, VERDICT_DROP, VERDICTS };

struct counts {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, enum verdict);
	__type(value, struct counts);
} verdicts_of_all_programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 8);
} sizes_only SEC(".maps");

SEC("xdp")
int xdp_untyped(struct xdp_md *ctx)
{
	__u32 key = VERDICT_PASS;
	struct counts *counts = bpf_map_lookup_elem(&verdicts_of_all_programs, &key);

	if (counts) {
		counts->packets++;
		counts->bytes += ctx->data_end - ctx->data;
	}
	bpf_map_lookup_elem(&sizes_only, &key);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
