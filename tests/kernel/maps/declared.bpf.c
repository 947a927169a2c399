// SPDX-License-Identifier: GPL-2.0-only
/* Maps that libbpf creates without BTF, since the kernel refuses their types or a type is missing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum verdict { VERDICT_PASS, VERDICT_DROP, VERDICT_TX };

struct bucket {
	__u32 number;
};

struct counts {
	__u64 packets;
	__u32 drops;
	__u32 errors;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, enum verdict);
	__type(value, struct counts);
} enum_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, struct bucket);
	__type(value, __u64);
} a_struct_as_key_and_a_long_name SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__type(value, struct counts);
	__uint(max_entries, 8);
} no_key_type SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__uint(value_size, 16);
	__uint(max_entries, 8);
} annotated SEC(".maps");

/* As BPF_ANNOTATE_KV_PAIR did for `struct bpf_map_def`. */
struct ____btf_map_annotated {
	enum verdict key;
	struct counts value;
};
struct ____btf_map_annotated ____btf_map_annotated SEC(".maps.annotated");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 4);
	__uint(value_size, 8);
	__uint(max_entries, 8);
} sizes_alone SEC(".maps");

SEC("xdp")
int fill(struct xdp_md *ctx __attribute__((unused)))
{
	const struct counts counts = {5, 6, 7};
	const __u64 one = 1;
	const __u32 key = 1;
	__u64 *count;

	bpf_map_update_elem(&enum_key, &key, &counts, BPF_ANY);
	count = bpf_map_lookup_elem(&a_struct_as_key_and_a_long_name, &key);
	if (count)
		*count += 3;
	bpf_map_update_elem(&no_key_type, &key, &counts, BPF_ANY);
	bpf_map_update_elem(&annotated, &key, &counts, BPF_ANY);
	bpf_map_update_elem(&sizes_alone, &key, &one, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
