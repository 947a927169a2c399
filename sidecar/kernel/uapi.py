# SPDX-License-Identifier: Apache-2.0
"""
Constants and structures of bpf(2), as in the kernel's `include/uapi/linux/bpf.h`.

One structure for each member of `union bpf_attr` that is used here, and one for each kind of info.
"""

import ctypes

SYS_BPF = {
    ("x86_64", 8): 321,
    ("aarch64", 8): 280,
    ("riscv64", 8): 280,
    ("loongarch64", 8): 280,
    ("s390x", 8): 351,
    ("ppc64le", 8): 361,
    ("armv6l", 4): 386,
    ("armv7l", 4): 386,
    ("armv8l", 4): 386,
    ("i686", 4): 357,
    # 32-bit programs on a 64-bit kernel.
    ("aarch64", 4): 386,
    ("x86_64", 4): 357,
}
"""Its number, by `uname -m` and the bytes of a pointer."""

# enum bpf_cmd
MAP_LOOKUP_ELEM = 1
MAP_GET_NEXT_KEY = 4
OBJ_PIN = 6
OBJ_GET = 7
PROG_GET_NEXT_ID = 11
MAP_GET_NEXT_ID = 12
PROG_GET_FD_BY_ID = 13
MAP_GET_FD_BY_ID = 14
OBJ_GET_INFO_BY_FD = 15
PROG_QUERY = 16
BTF_GET_FD_BY_ID = 19
MAP_LOOKUP_BATCH = 24
LINK_CREATE = 28
LINK_UPDATE = 29
LINK_GET_FD_BY_ID = 30
LINK_GET_NEXT_ID = 31
ENABLE_STATS = 32
LINK_DETACH = 34

STATS_RUN_TIME = 0  # enum bpf_stats_type

# enum bpf_map_type
MAP_HASH = 1
MAP_ARRAY = 2
MAP_PERCPU_HASH = 5
MAP_PERCPU_ARRAY = 6
MAP_LRU_HASH = 9
MAP_LRU_PERCPU_HASH = 10
MAP_LPM_TRIE = 11
MAP_ARRAY_OF_MAPS = 12
MAP_HASH_OF_MAPS = 13
MAP_TYPES = (
    "UNSPEC",
    "HASH",
    "ARRAY",
    "PROG_ARRAY",
    "PERF_EVENT_ARRAY",
    "PERCPU_HASH",
    "PERCPU_ARRAY",
    "STACK_TRACE",
    "CGROUP_ARRAY",
    "LRU_HASH",
    "LRU_PERCPU_HASH",
    "LPM_TRIE",
    "ARRAY_OF_MAPS",
    "HASH_OF_MAPS",
    "DEVMAP",
    "SOCKMAP",
    "CPUMAP",
    "XSKMAP",
    "SOCKHASH",
    "CGROUP_STORAGE",
    "REUSEPORT_SOCKARRAY",
    "PERCPU_CGROUP_STORAGE",
    "QUEUE",
    "STACK",
    "SK_STORAGE",
    "DEVMAP_HASH",
    "STRUCT_OPS",
    "RINGBUF",
    "INODE_STORAGE",
    "TASK_STORAGE",
    "BLOOM_FILTER",
    "USER_RINGBUF",
    "CGRP_STORAGE",
    "ARENA",
    "INSN_ARRAY",
)
"""Their names, by number."""

OBJ_NAME_LEN = 16
MPROG_MAX = 64  # BPF_MPROG_MAX, include/linux/bpf_mprog.h
BPF_FS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
F_RDONLY = 1 << 3
F_BEFORE = 1 << 3  # of BPF_LINK_CREATE, without a program that it refers to: before all others

PROG_TYPE_EXT = 28  # enum bpf_prog_type

# enum bpf_attach_type
ATTACH_XDP = 37
ATTACH_TCX_INGRESS = 46
ATTACH_TCX_EGRESS = 47

LINK_TYPE_TRACING = 2  # enum bpf_link_type

# XDP_FLAGS_*, include/uapi/linux/if_link.h
XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2
XDP_FLAGS_HW_MODE = 1 << 3


class MapElem(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),  # key is aligned to 8 bytes everywhere: `__aligned_u64`
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )

    def __init__(self, map_fd: int, key: int, value: int, flags: int = 0) -> None:
        super().__init__(map_fd, 0, key, value, flags)


class MapBatch(ctypes.Structure):
    _fields_ = (
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class Obj(ctypes.Structure):
    _fields_ = (
        ("pathname", ctypes.c_uint64),
        ("bpf_fd", ctypes.c_uint32),
        ("file_flags", ctypes.c_uint32),
    )


class GetId(ctypes.Structure):
    _fields_ = (
        ("start_id", ctypes.c_uint32),  # or the id itself
        ("next_id", ctypes.c_uint32),
        ("open_flags", ctypes.c_uint32),
    )


class InfoByFd(ctypes.Structure):
    _fields_ = (
        ("bpf_fd", ctypes.c_uint32),
        ("info_len", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    )


class ProgQuery(ctypes.Structure):
    _fields_ = (
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("query_flags", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
        ("prog_ids", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("prog_attach_flags", ctypes.c_uint64),
        ("link_ids", ctypes.c_uint64),
        ("link_attach_flags", ctypes.c_uint64),
        ("revision", ctypes.c_uint64),
    )


class LinkCreate(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class LinkUpdate(ctypes.Structure):
    _fields_ = (
        ("link_fd", ctypes.c_uint32),
        ("new_prog_fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    )


class LinkFd(ctypes.Structure):
    _fields_ = (("link_fd", ctypes.c_uint32),)


class RawMapInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * OBJ_NAME_LEN),
        ("ifindex", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
    )


class RawProgInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * OBJ_NAME_LEN),
        ("_rest", ctypes.c_uint8 * 48),
        ("btf_id", ctypes.c_uint32),
        ("_rest_2", ctypes.c_uint8 * 60),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
    )


class EnableStats(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32),)


class RawBtfInfo(ctypes.Structure):
    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
    )


class RawLinkInfo(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),  # first of the xdp and of the tcx member of the union
        ("target_obj_id", ctypes.c_uint32),  # second of the tracing member
        ("_rest", ctypes.c_uint8 * 56),
    )
