# SPDX-License-Identifier: Apache-2.0
"""The shipped TCX program counts each kind of frame as the XDP program does, and GSO as what leaves."""

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis.strategies import binary

from demo.bpf_commands import tcx_test_run
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf
from tests.kernel import packets as p
from tests.kernel.oracle import Counts, classify, counts
from tests.kernel.test_program import RECORD_BYTES, REPOSITORY, each_kind, possible_cpus

TCX_NEXT = 0xFFFFFFFF
NO_GSO = (0, 0, 0)
LONGEST_REFUSED = 14 + 40


class RefusedFrameError(Exception):
    """BPF_PROG_RUN makes no packet of less than a header: test_transmit.py sends those."""


@dataclass(frozen=True)
class Counter:
    """The loaded program, whose frames are counted one by one."""

    program: libbpf.LoadedProgram

    def totals(self) -> tuple[int, ...]:
        """Return the sum of the records of all CPUs."""
        raw = bpf.map_lookup(self.program.map_fd, bytes(4), RECORD_BYTES * len(possible_cpus()))
        return tuple(map(sum, zip(*struct.iter_unpack("=8Q", raw), strict=True)))

    def run(self, frame: bytes, *, repeat: int = 1, gso: tuple[int, int, int] = NO_GSO) -> Counts:
        """Run *frame*; assert that it is left to the next program; return what it added to the map."""
        before = self.totals()
        try:
            result = tcx_test_run(self.program.prog_fd, frame, repeat=repeat, gso=gso)
        except OSError as error:
            if error.errno == errno.EINVAL and len(frame) < LONGEST_REFUSED:
                raise RefusedFrameError from None
            raise
        assert (result.retval, result.data_out) == (TCX_NEXT, frame)
        return Counts(*(new - old for new, old in zip(self.totals(), before, strict=True)))


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    """The program."""
    with libbpf.load_transmit_counter() as program:
        yield Counter(program)


def times(once: Counts, packets: int, bytes_: int) -> Counts:
    """Return the counts of *packets* of one kind, *bytes_* in all."""
    each = {name: packets * count for name, count in vars(once).items()}
    return Counts(**{**each, "bytes": bytes_})


@each_kind
def test_a_frame_adds_to_the_counters_of_its_kind_alone(counter: Counter, fields: str, frame: bytes) -> None:
    """As in XDP, whole or cut after any byte."""
    for length in (*range(14, min(len(frame), 200)), len(frame)):
        try:
            counted = counter.run(frame[:length])
        except RefusedFrameError:
            continue
        assert counted == classify(frame[:length]), f"cut to {length} bytes"
    assert classify(frame) == counts(frame, fields)


@each_kind
def test_a_packet_to_be_segmented_counts_as_its_segments(counter: Counter, fields: str, frame: bytes) -> None:
    """Each of them is a packet of its kind, and the bytes are those on the wire."""
    on_the_wire = len(frame) + 1234
    try:
        counted = counter.run(frame, gso=(on_the_wire, 7, 100))
    except RefusedFrameError:
        return
    assert counted == times(counts(frame, fields), 7, on_the_wire)


PAYLOAD = bytes(2000)


@pytest.mark.parametrize(
    ("fields", "headers", "frame"),
    [
        ("ipv4 tcp", 54, p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(PAYLOAD)))),
        ("ipv4 tcp", 62, p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(PAYLOAD), options=bytes(8)))),
        ("ipv6 tcp", 74, p.ethernet(p.IPV6, p.ipv6(p.TCP, p.tcp(PAYLOAD)))),
        ("ipv4 tcp", 58, p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(PAYLOAD)), p.C_TAG)),
        ("ipv4 udp", 42, p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(PAYLOAD)))),
        ("ipv6 udp", 70, p.ethernet(p.IPV6, p.chain([p.HOP_BY_HOP], p.UDP, p.udp(PAYLOAD)))),
    ],
)
@pytest.mark.parametrize("size", [999, 1000, 1001, 1999, 2000, 4000])
def test_segments_that_nobody_counted_yet_are_counted(
    counter: Counter, fields: str, headers: int, frame: bytes, size: int
) -> None:
    """A virtual machine says only how large they shall be (SKB_GSO_DODGY)."""
    segments = -(-2000 // size)
    on_the_wire = len(frame) + (segments - 1) * headers

    assert len(frame) == headers + 2000
    assert counter.run(frame, gso=(on_the_wire, 0, size)) == times(
        counts(frame, fields), segments, on_the_wire
    )


@pytest.mark.parametrize("kind", ["ARP", "IPv4 later fragment", "IPv6 no next header", "GRE in IPv4"])
def test_what_is_neither_tcp_nor_udp_has_no_segments(counter: Counter, kind: str) -> None:
    """Whatever size they should have."""
    fields, frame = p.KINDS[kind]

    assert counter.run(frame, gso=(0, 0, 1)) == counts(frame, fields)


def test_a_million_runs_are_a_million_counts(counter: Counter) -> None:
    """Of one frame."""
    fields, frame = p.KINDS["802.1ad, 802.1Q"]

    assert counter.run(frame, repeat=1_000_000) == times(
        counts(frame, fields), 1_000_000, 1_000_000 * len(frame)
    )


@settings(deadline=None, max_examples=1000)
@given(frame=p.ip_frames | binary(min_size=14, max_size=300))
def test_any_frame_is_counted_as_by_the_oracle(counter: Counter, frame: bytes) -> None:
    """The classes add up to the total."""
    try:
        counted = counter.run(frame)
    except RefusedFrameError:
        assume(False)
    assert counted == classify(frame)


def test_two_capabilities_suffice_to_load_it() -> None:
    """As for the XDP program, also on a kernel without BTF of its own."""
    script = "from sidecar.kernel import libbpf; libbpf.load_transmit_counter().close()"
    hide = "mount -t tmpfs none /sys/kernel && test ! -e /sys/kernel/btf && "
    limited = 'exec setpriv --bounding-set=-all,+bpf,+net_admin "$@"'
    command = ["unshare", "--mount", "sh", "-c", hide + limited, "sh", sys.executable, "-c", script]

    subprocess.run(command, check=True, cwd=REPOSITORY, env=os.environ)
