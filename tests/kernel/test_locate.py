# SPDX-License-Identifier: Apache-2.0
import os
import struct
import time
import uuid
from pathlib import Path

import pytest

from demo.bpf_commands import map_update
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SourceError
from sidecar.kernel import libbpf, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.cpus import possible_cpus
from sidecar.sources import locate
from tests.waiting import patient

KINDS = [uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY]


def by(kind, value):
    """A source of what a user would name by one flag."""
    return locate.source(SourceSpec(MapRef(kind, str(value))))


def fill(fd, map_type, seed=1):
    """Write other counts for each CPU; return the totals."""
    slots = len(possible_cpus()) if map_type == uapi.MAP_PERCPU_ARRAY else 1
    per_cpu = [[seed * (field + 1) + 1000 * cpu for field in range(8)] for cpu in range(slots)]
    map_update(fd, bytes(4), b"".join(struct.pack("=8Q", *slot) for slot in per_cpu))
    return tuple(map(sum, zip(*per_cpu, strict=True)))


def read(source):
    source.open()
    try:
        (snapshot,) = source.read()
        return snapshot
    finally:
        source.close()


@pytest.fixture
def unique():
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("map_type", KINDS, ids=uapi.MAP_TYPES.__getitem__)
def test_a_map_is_found_by_pin_name_and_id(make_map, make_pin, unique, map_type):
    """All three lead to the same map, plain or per CPU."""
    fd = make_map(map_type, name=unique)
    expected = fill(fd, map_type)
    info = bpf.map_info(fd)

    for source in (
        by("pin", make_pin(fd)),
        by("name", unique),
        by("id", info.id),
    ):
        snapshot = read(source)
        assert snapshot.reading.cells == {bytes(4): expected}
        assert snapshot.identity.map_id == info.id


def test_a_name_is_matched_whole_and_as_the_kernel_keeps_it(make_map, unique):
    """A part is not enough; a name of 16 or more characters matches the 15 that the kernel keeps."""
    make_map(uapi.MAP_ARRAY, name=unique)
    with pytest.raises(SourceError, match="no map has that name"):
        by("name", unique[:-1]).open()
    long = f"{unique}_and_more_letters"
    fd = make_map(uapi.MAP_ARRAY, name=long)

    assert read(by("name", long)).identity.map_id == bpf.map_info(fd).id


def test_an_ambiguous_name_is_refused(make_map, unique):
    """It is never resolved by chance; the error lists the ids."""
    ids = [bpf.map_info(make_map(kind, name=unique)).id for kind in KINDS]

    with pytest.raises(SourceError, match=r"2 maps have that name") as caught:
        by("name", unique).open()
    assert all(f"id {number}" in str(caught.value) for number in ids)
    assert "--map-id" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "cause"),
    [
        ({"map_type": uapi.MAP_ARRAY, "value_size": 8}, "has no BTF"),
        ({"map_type": uapi.MAP_HASH, "max_entries": 4}, "has no BTF"),
        (
            {"map_type": 27, "key_size": 0, "value_size": 0, "max_entries": 4096},
            "RINGBUF maps are not supported",
        ),
    ],
    ids=["array", "hash", "ring buffer"],
)
def test_a_map_that_cannot_be_described_is_refused(make_map, unique, shape, cause):
    """The error says what the map is and what to do."""
    fd = make_map(**shape, name=unique)

    with pytest.raises(SourceError, match=rf"cannot read map {unique} .*{cause}"):
        by("id", bpf.map_info(fd).id).open()


@pytest.mark.parametrize("map_id", [0, 2**31, 2**32 - 1])
def test_a_missing_id_is_a_one_line_error(map_id):
    """It says how to find the ids."""
    with pytest.raises(SourceError, match=rf"cannot open map id {map_id}: no such map: `xdp-otel discover`"):
        by("id", map_id).open()


def test_a_missing_pin_is_a_one_line_error(tmp_path, bpffs):
    """A missing pin, an ordinary file and a directory are distinguished."""
    with pytest.raises(SourceError, match=r"cannot open map pinned at /sys/fs/bpf/nosuchpin: ENOENT"):
        by("pin", bpffs / "nosuchpin").open()
    with pytest.raises(SourceError, match=r"bpffs allows no dot in a name.*libbpf pins map"):
        by("pin", bpffs / "prog.bss").open()
    plain = tmp_path / "file"
    plain.touch()
    with pytest.raises(SourceError, match="not a pinned map"):
        by("pin", plain).open()
    with pytest.raises(SourceError, match=f"not a pinned map: a directory: name a pin in it: `ls {bpffs}`"):
        by("pin", bpffs).open()


def test_a_pinned_program_is_not_a_map(make_pin, cleanup):
    """A pin of a program or a link is refused as such."""
    program = libbpf.load_packet_counter()
    cleanup.callback(program.close)

    with pytest.raises(SourceError, match="not a pinned map"):
        by("pin", make_pin(program.prog_fd)).open()


def test_counting_began_when_the_oldest_program_was_loaded(cleanup):
    """The first window starts at the load time of the program that uses the map."""
    before = time.time_ns()
    program = libbpf.load_packet_counter()
    cleanup.callback(program.close)
    born = read(by("id", bpf.map_info(program.map_fd).id)).counting_since_ns

    # Two clocks are read one after the other; the kernel's tick is the coarser.
    assert before - 20_000_000 <= born <= time.time_ns()


def test_without_a_program_counting_began_with_the_pin_or_the_boot(make_map, make_pin):
    """The first window of a map that no program uses starts at its pin, or else at the boot."""
    fd = make_map(uapi.MAP_ARRAY)
    boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    by_id = read(by("id", bpf.map_info(fd).id)).counting_since_ns
    by_pin = read(by("pin", make_pin(fd))).counting_since_ns

    assert abs(by_id - boot) < patient(1_000_000_000)
    assert abs(by_pin - time.time_ns()) < patient(1_000_000_000)


def test_a_new_map_under_the_pin_is_followed(make_map, make_pin):
    """The old map is held, and its counts up to the swap are read, until it is released."""
    old_fd = make_map(uapi.MAP_ARRAY)
    path = make_pin(old_fd)
    source = by("pin", path)
    source.open()
    source.read()
    expected_old = fill(old_fd, uapi.MAP_ARRAY, seed=3)
    new_fd = make_map(uapi.MAP_ARRAY)
    Path(path).unlink()
    make_pin(new_fd, path)
    expected_new = fill(new_fd, uapi.MAP_ARRAY, seed=5)

    old, new = source.read()
    assert (old.reading.cells, new.reading.cells) == ({bytes(4): expected_old}, {bytes(4): expected_new})
    source.release(old.identity)
    assert len(source.read()) == 2
    source.release(new.identity)
    assert [snapshot.identity for snapshot in source.read()] == [new.identity]
    source.close()


def test_no_file_descriptor_is_leaked(make_map, make_pin):
    """By many cycles, or by refusals."""
    path = make_pin(make_map(uapi.MAP_ARRAY))
    unreadable = make_pin(make_map(uapi.MAP_ARRAY, value_size=8))
    source = by("pin", path)
    source.open()
    source.read()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        source.read()
        with pytest.raises(SourceError):
            by("pin", unreadable).open()
    assert len(os.listdir("/proc/self/fd")) == before
    source.close()
