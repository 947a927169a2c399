# SPDX-License-Identifier: Apache-2.0
import json
import os
import struct
import subprocess
import sys

import pytest

from sidecar import bpf_reader
from sidecar import bpf_syscall as bpf
from sidecar import bpf_uapi as uapi
from sidecar.model import Field, Layout

CPUS = bpf_reader.possible_cpus()
TWO = Layout(16, (Field("packets", 0), Field("bytes", 8)))

HASHES = [uapi.MAP_HASH, uapi.MAP_LRU_HASH, uapi.MAP_PERCPU_HASH, uapi.MAP_LRU_PERCPU_HASH]
ARRAYS = [uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY]
names = uapi.MAP_TYPE_NAMES.get


def value(map_type, seed):
    """Return the value to write, different for each CPU, and the totals it must be read as."""
    slots = CPUS if map_type in bpf_reader.PER_CPU_TYPES else 1
    per_cpu = [(seed * 7 + cpu * 1009 + 2**53 + 1, seed * 11 + cpu * 100_003) for cpu in range(slots)]
    return b"".join(struct.pack("=QQ", *one) for one in per_cpu), tuple(map(sum, zip(*per_cpu, strict=True)))


@pytest.mark.parametrize("map_type", ARRAYS + HASHES, ids=names)
@pytest.mark.parametrize("entries", [1, 3, 5000])
def test_every_kind_of_map_is_read_back(make_map, map_type, entries):
    """What was written for each key and CPU is what is read, summed, to the unit, past 2^53."""
    fd = make_map(map_type, value_size=16, max_entries=entries * 2 if map_type in HASHES else entries)
    expected = {}
    for at in range(entries):
        key = struct.pack("=I", at)
        raw, expected[key] = value(map_type, at)
        bpf.map_update(fd, key, raw)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO) == expected


@pytest.mark.parametrize("map_type", ARRAYS, ids=names)
def test_a_value_that_is_no_multiple_of_eight_is_read(make_map, map_type):
    """The padding between the CPUs' slots is stepped over."""
    layout = Layout(12, (Field("packets", 0), Field("drops", 8, size=4)))
    fd = make_map(map_type, value_size=12)
    slots = CPUS if map_type in bpf_reader.PER_CPU_TYPES else 1
    padding = b"\xff" * 4 if slots > 1 else b""
    bpf.map_update(fd, bytes(4), b"".join(struct.pack("=QI", 10 + n, 3) + padding for n in range(slots)))

    expected = {bytes(4): (sum(10 + n for n in range(slots)), 3 * slots)}
    assert bpf_reader.read(fd, bpf.map_info(fd), layout) == expected


def test_a_bucket_larger_than_the_first_batch_is_no_obstacle(make_map, monkeypatch):
    """When a bucket does not fit (ENOSPC) the read starts again with a larger batch and misses nothing."""
    monkeypatch.setattr(bpf_reader, "_FIRST_BATCH", 1)
    fd = make_map(uapi.MAP_HASH, value_size=16, max_entries=4096)
    expected = {}
    for at in range(4096):
        key = struct.pack("=I", at)
        raw, expected[key] = value(uapi.MAP_HASH, at)
        bpf.map_update(fd, key, raw)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO) == expected


@pytest.mark.parametrize("map_type", HASHES, ids=names)
def test_an_empty_hash_reads_as_nothing(make_map, map_type):
    """No keys is a reading, not an error."""
    fd = make_map(map_type, value_size=16, max_entries=16)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO) == {}


def test_a_failed_read_raises_and_never_reads_as_zeros(make_map):
    """A closed map is an OSError."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=16)
    info = bpf.map_info(fd)
    copy = os.dup(fd)
    os.close(copy)

    with pytest.raises(OSError, match="Bad file descriptor"):
        bpf_reader.read(copy, info, TWO)


def test_possible_cpus_are_those_of_the_kernel(make_map):
    """The kernel's answer for one key fills exactly the slots that are counted, and not a byte more."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=8)
    bpf.map_update(fd, bytes(4), b"".join(struct.pack("=Q", 1000 + n) for n in range(CPUS)))
    raw = bpf.map_lookup(fd, bytes(4), 8 * CPUS + 64)

    assert struct.unpack(f"={CPUS}Q", raw[: 8 * CPUS]) == tuple(1000 + n for n in range(CPUS))
    assert raw[8 * CPUS :] == bytes(64)


def test_bpftool_reads_the_same(make_map):
    """bpftool, another reader, sees the same values in the same map."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=16)
    raw, expected = value(uapi.MAP_PERCPU_ARRAY, 5)
    bpf.map_update(fd, bytes(4), raw)
    info = bpf.map_info(fd)
    dump = subprocess.run(
        ["bpftool", "map", "dump", "id", str(info.id), "-j"], check=True, capture_output=True, text=True
    )
    slots = [bytes(int(byte, 16) for byte in slot["value"]) for slot in json.loads(dump.stdout)[0]["values"]]
    seen = tuple(sum(int.from_bytes(slot[at : at + 8], sys.byteorder) for slot in slots) for at in (0, 8))

    assert seen == expected
    assert bpf_reader.read(fd, info, TWO) == {bytes(4): expected}
