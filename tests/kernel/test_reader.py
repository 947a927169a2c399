# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import struct
import subprocess
import sys
import threading

import pytest

from demo.bpf_commands import map_delete, map_update
from sidecar import bpf_reader
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.cpus import possible_cpus
from sidecar.kernel.map_kinds import kind_of
from sidecar.model import Field, Layout
from sidecar.schema import Schema

CPUS = len(possible_cpus())


def schema(*fields, size, cpu=None):
    return Schema("test", Layout(size, fields), (), lambda _key: (), cpu=cpu)


TWO = schema(Field("packets", 0), Field("bytes", 64), size=16)

HASHES = [uapi.MAP_HASH, uapi.MAP_LRU_HASH, uapi.MAP_PERCPU_HASH, uapi.MAP_LRU_PERCPU_HASH]
ARRAYS = [uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY]


def names(map_type):
    """What a parameter is called in the test's id."""
    return kind_of(map_type).name


def value(map_type, seed):
    """Return the value to write, different for each CPU, and the totals it must be read as."""
    slots = CPUS if kind_of(map_type).is_per_cpu else 1
    per_cpu = [(seed * 7 + cpu * 1009 + 2**53 + 1, seed * 11 + cpu * 100_003) for cpu in range(slots)]
    sums = tuple(map(sum, zip(*per_cpu, strict=True)))
    return b"".join(struct.pack("=QQ", *slot) for slot in per_cpu), sums


@pytest.mark.parametrize("map_type", ARRAYS + HASHES, ids=names)
@pytest.mark.parametrize("entries", [1, 3, 5000])
def test_every_kind_of_map_is_read_exactly(make_map, map_type, entries):
    """The sum over all CPUs of what was written for each key, also beyond 2^53."""
    fd = make_map(map_type, value_size=16, max_entries=entries * 2 if map_type in HASHES else entries)
    expected = {}
    for at in range(entries):
        key = struct.pack("=I", at)
        raw, expected[key] = value(map_type, at)
        map_update(fd, key, raw)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO).cells == expected


@pytest.mark.parametrize("map_type", ARRAYS, ids=names)
def test_a_value_whose_size_is_no_multiple_of_eight_is_read(make_map, map_type):
    """The padding between the CPUs' slots is skipped."""
    layout = schema(Field("packets", 0), Field("drops", 64, 32), size=12)
    fd = make_map(map_type, value_size=12)
    slots = CPUS if kind_of(map_type).is_per_cpu else 1
    padding = b"\xff" * 4 if slots > 1 else b""
    map_update(fd, bytes(4), b"".join(struct.pack("=QI", 10 + n, 3) + padding for n in range(slots)))

    expected = {bytes(4): (sum(10 + n for n in range(slots)), *[3] * slots)}
    assert bpf_reader.read(fd, bpf.map_info(fd), layout).cells == expected


def test_a_bucket_larger_than_the_first_batch_is_read(make_map, monkeypatch):
    """After ENOSPC the read starts again with a larger batch and misses nothing."""
    monkeypatch.setattr(bpf_reader, "_FIRST_BATCH", 1)
    monkeypatch.setattr(bpf_reader, "_SMALLEST_BATCH", 1)
    fd = make_map(uapi.MAP_HASH, value_size=16, max_entries=4096)
    expected = {}
    for at in range(4096):
        key = struct.pack("=I", at)
        raw, expected[key] = value(uapi.MAP_HASH, at)
        map_update(fd, key, raw)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO).cells == expected


@pytest.mark.parametrize("map_type", HASHES, ids=names)
def test_an_empty_hash_is_an_empty_reading(make_map, map_type):
    """And not an error."""
    fd = make_map(map_type, value_size=16, max_entries=16)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO).cells == {}


def test_a_failed_read_raises(make_map):
    """It never looks like a map of zeros."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=16)
    info = bpf.map_info(fd)
    copy = os.dup(fd)
    os.close(copy)

    with pytest.raises(OSError, match="Bad file descriptor"):
        bpf_reader.read(copy, info, TWO)


def test_possible_cpus_are_those_of_the_kernel(make_map):
    """The result for one key fills exactly their slots, and not a byte more."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=8)
    map_update(fd, bytes(4), b"".join(struct.pack("=Q", 1000 + n) for n in range(CPUS)))
    raw = bpf.map_lookup(fd, bytes(4), 8 * CPUS + 64)

    assert struct.unpack(f"={CPUS}Q", raw[: 8 * CPUS]) == tuple(1000 + n for n in range(CPUS))
    assert raw[8 * CPUS :] == bytes(64)


def test_bpftool_reads_the_same(make_map):
    """An independent reader sees the same values in the same map."""
    fd = make_map(uapi.MAP_PERCPU_ARRAY, value_size=16)
    raw, expected = value(uapi.MAP_PERCPU_ARRAY, 5)
    map_update(fd, bytes(4), raw)
    info = bpf.map_info(fd)
    dump = subprocess.run(
        ["bpftool", "map", "dump", "id", str(info.id), "-j"], check=True, capture_output=True, text=True
    )
    slots = [bytes(int(byte, 16) for byte in slot["value"]) for slot in json.loads(dump.stdout)[0]["values"]]
    seen = tuple(sum(int.from_bytes(slot[at : at + 8], sys.byteorder) for slot in slots) for at in (0, 8))

    assert seen == expected
    assert bpf_reader.read(fd, info, TWO).cells == {bytes(4): expected}


@pytest.mark.parametrize("code", [errno.EINVAL, 524])
@pytest.mark.parametrize("map_type", ARRAYS + HASHES, ids=names)
def test_without_batches_entries_are_read_one_by_one(make_map, monkeypatch, map_type, code):
    """Kernels before 5.6, and for per-CPU arrays before 5.13, refuse the batch; nothing is missing."""
    monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, code))
    fd = make_map(map_type, value_size=16, max_entries=600 if map_type in HASHES else 300)
    expected = {}
    for at in range(300):
        key = struct.pack("=I", at)
        raw, expected[key] = value(map_type, at)
        map_update(fd, key, raw)

    assert bpf_reader.read(fd, bpf.map_info(fd), TWO).cells == expected


@pytest.mark.parametrize("batches", [True, False])
@pytest.mark.parametrize("map_type", [uapi.MAP_HASH, uapi.MAP_PERCPU_HASH], ids=names)
def test_keys_that_stay_are_read_exactly_while_others_come_and_go(make_map, monkeypatch, map_type, batches):
    """Those that stay appear once, with their value; the others may appear or not."""
    if not batches:
        monkeypatch.setattr(bpf, "map_lookup_batch", lambda *_: (0, errno.EINVAL))
    fd = make_map(map_type, value_size=16, max_entries=6000)
    stays = {}
    for at in range(3000):
        key = struct.pack("=I", at)
        raw, stays[key] = value(map_type, at)
        map_update(fd, key, raw)
    coming_raw, coming = value(map_type, 77)
    done = threading.Event()

    def change():
        while not done.is_set():
            for at in range(10_000, 10_200):
                map_update(fd, struct.pack("=I", at), coming_raw)
            for at in range(10_000, 10_200):
                map_delete(fd, struct.pack("=I", at))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            cells = dict(bpf_reader.read(fd, bpf.map_info(fd), TWO).cells)
            assert {key: cells.pop(key) for key in stays} == stays
            assert set(cells.values()) <= {coming}
    finally:
        done.set()
        thread.join()


def test_cpus_can_be_told_apart(make_map):
    """Each CPU's slot is an entry of its own, keyed by the key and the CPU's number."""
    fd = make_map(uapi.MAP_PERCPU_HASH, value_size=12, max_entries=4)
    raw = b"".join(struct.pack("=QI", 10 + n, n) + bytes(4) for n in range(CPUS))
    map_update(fd, b"abcd", raw)
    by_cpu = schema(Field("packets", 0), Field("drops", 64, 32), size=12, cpu="cpu")

    assert bpf_reader.read(fd, bpf.map_info(fd), by_cpu).cells == {
        b"abcd" + struct.pack("=I", cpu): (10 + n, n) for n, cpu in enumerate(possible_cpus())
    }
