# SPDX-License-Identifier: Apache-2.0
"""The shipped XDP program counts each kind of frame, run through it in the kernel, as bpf/README.md says."""

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import binary, integers

from demo.bpf_commands import prog_test_run
from sidecar.errors import KernelError
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf
from tests.kernel import packets as p
from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.oracle import Counts, classify, counts

REPOSITORY = Path(__file__).parents[2]
XDP_PASS = 2
RECORD_BYTES = 64
LINEAR_MAX = 3000
"""Bytes that BPF_PROG_RUN keeps in one piece on any machine: a page, less headroom and skb_shared_info."""


@dataclass(frozen=True)
class Counter:
    """A loaded program whose frames are counted one by one."""

    program: libbpf.LoadedProgram

    def records(self) -> list[tuple[int, ...]]:
        """Return the record of each possible CPU."""
        raw = bpf.map_lookup(self.program.map_fd, bytes(4), RECORD_BYTES * len(possible_cpus()))
        return list(struct.iter_unpack("=8Q", raw))

    def totals(self) -> tuple[int, ...]:
        """Return the sum of the records."""
        return tuple(map(sum, zip(*self.records(), strict=True)))

    def run(self, frame: bytes, *, repeat: int = 1, linear: int | None = None) -> Counts:
        """Run *frame*; assert that it passes unchanged; return what it added to the map."""
        before = self.totals()
        result = prog_test_run(self.program.prog_fd, frame, repeat=repeat, linear=linear)
        assert result.retval == XDP_PASS
        assert result.data_out == frame
        return Counts(*(new - old for new, old in zip(self.totals(), before, strict=True)))


@pytest.fixture(scope="module", params=[True, False], ids=["frags", "linear"])
def counter(request: pytest.FixtureRequest) -> Iterator[Counter]:
    """Each of the two programs."""
    if request.param:
        request.getfixturevalue("needs_frags")
    with libbpf.load_packet_counter(frags=request.param) as program:
        yield Counter(program)


@pytest.fixture(scope="module")
def frags_counter(needs_frags: None) -> Iterator[Counter]:
    """The program for multi-buffer frames."""
    with libbpf.load_packet_counter(frags=True) as program:
        yield Counter(program)


@pytest.fixture(scope="module")
def fragmenting_counter(frags_counter: Counter) -> Counter:
    """The same, where BPF_PROG_RUN lets the caller say where the linear part of a frame ends."""
    try:
        frags_counter.run(bytes(60), linear=14)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("the kernel lets no test choose where the linear part of a frame ends")
    return frags_counter


each_kind = pytest.mark.parametrize(("fields", "frame"), p.KINDS.values(), ids=p.KINDS.keys())


@each_kind
def test_a_frame_adds_to_the_counters_of_its_kind_alone(counter: Counter, fields: str, frame: bytes) -> None:
    """One to the total, its length to the bytes, one to each counter of its kind, and nothing to others."""
    assert len(frame) < LINEAR_MAX
    assert counter.run(frame) == counts(frame, fields)


@each_kind
def test_the_oracle_agrees_with_the_table(fields: str, frame: bytes) -> None:
    """The independent classifier that judges the frames below knows each kind."""
    assert classify(frame) == counts(frame, fields)


@each_kind
def test_a_truncated_frame_is_counted(counter: Counter, fields: str, frame: bytes) -> None:
    """Cut after any byte from the Ethernet header on, it counts as what is left of it."""
    for length in range(14, min(len(frame), 200)):
        assert counter.run(frame[:length]) == classify(frame[:length]), f"cut to {length} bytes"


@pytest.mark.parametrize(
    ("fields", "packet", "header_bytes"),
    [
        ("ipv4 tcp", p.ipv4(p.TCP, p.tcp(b"data")), 20 + 20),
        ("ipv4 udp", p.ipv4(p.UDP, p.udp(b"data")), 20 + 8),
        ("ipv4 icmp", p.ipv4(p.ICMP, p.echo(8)), 20 + 8),
        ("ipv4 tcp", p.ipv4(p.TCP, p.tcp(), options=bytes(12)), 32 + 20),
        ("ipv6 tcp", p.ipv6(p.TCP, p.tcp(b"data")), 40 + 20),
        ("ipv6 udp", p.ipv6(p.UDP, p.udp(b"data")), 40 + 8),
        ("ipv6 icmp", p.ipv6(p.ICMPV6, p.echo(128)), 40 + 8),
        ("ipv6 udp", p.chain([p.HOP_BY_HOP], p.UDP, p.udp(b"data"), 1), 40 + 16 + 8),
    ],
)
def test_a_transport_header_counts_only_if_complete(
    counter: Counter, fields: str, packet: bytes, header_bytes: int
) -> None:
    """Without the last byte of its fixed header, TCP, UDP or ICMP counts as other."""
    version, _ = fields.split()
    frame = p.ethernet(p.IPV4 if version == "ipv4" else p.IPV6, packet)[: 14 + header_bytes]

    assert counter.run(frame) == counts(frame, fields)
    assert counter.run(frame[:-1]) == counts(frame[:-1], f"{version} other")


@pytest.mark.parametrize("length", [3500, 4096, 9014, 60_000])
@pytest.mark.parametrize(
    ("fields", "make"),
    [
        ("ipv4 tcp", lambda n: p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(bytes(n - 54))))),
        ("ipv6 udp", lambda n: p.ethernet(p.IPV6, p.ipv6(p.UDP, p.udp(bytes(n - 62))))),
        ("ipv4 udp", lambda n: p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(bytes(n - 50))), p.S_TAG, p.C_TAG)),
        ("other", lambda n: p.ethernet(p.LLDP, bytes(n - 14))),
    ],
    ids=["TCP", "UDP over IPv6", "two tags", "foreign"],
)
def test_a_multi_buffer_frame_is_counted_with_its_full_length(
    frags_counter: Counter, fields: str, make: Callable[[int], bytes], length: int
) -> None:
    """Its fragments add to the bytes."""
    frame = make(length)

    assert len(frame) == length
    assert frags_counter.run(frame) == counts(frame, fields)


@pytest.mark.parametrize(
    "kinds", [[p.HOP_BY_HOP] * 2, [p.AH] * 4, [p.DESTINATION, p.ROUTING, p.MOBILITY], [p.HIP] * 8]
)
def test_headers_behind_the_linear_part_are_read(frags_counter: Counter, kinds: list[int]) -> None:
    """Extension headers that fill the linear part do not hide the transport header behind it."""
    frame = p.ethernet(p.IPV6, p.chain(kinds, p.UDP, p.udp(b"data"), 255))

    assert len(frame) > 4096
    assert frags_counter.run(frame) == counts(frame, "ipv6 udp")


@each_kind
def test_the_end_of_the_linear_part_changes_nothing(
    fragmenting_counter: Counter, fields: str, frame: bytes
) -> None:
    """A driver may leave any part of a frame, even all, in fragments."""
    for linear in range(min(len(frame), 140)):
        assert fragmenting_counter.run(frame, linear=linear) == counts(frame, fields), (
            f"{linear} bytes linear"
        )


def test_each_cpu_counts_in_its_own_record(counter: Counter) -> None:
    """Frames of another kind and number on each CPU are in that CPU's record alone."""
    frames = [p.KINDS[kind][1] for kind in ("IPv4 TCP", "IPv6 UDP", "IPv4 ICMP", "ARP")]
    allowed = os.sched_getaffinity(0)
    expected = counter.records()
    try:
        for record, cpu in enumerate(possible_cpus()):
            if cpu in allowed:
                os.sched_setaffinity(0, {cpu})
                frame, repeat = frames[cpu % len(frames)], 101 + 10 * cpu
                prog_test_run(counter.program.prog_fd, frame, repeat=repeat)
                added = (repeat * count for count in astuple(classify(frame)))
                expected[record] = tuple(map(sum, zip(expected[record], added, strict=True)))
    finally:
        os.sched_setaffinity(0, allowed)

    assert len(allowed) > 1
    assert counter.records() == expected


def possible_cpus() -> list[int]:
    """Return the numbers of the possible CPUs, in the order of their records."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return [
        cpu
        for first, *last in (text.split("-") for text in ranges)
        for cpu in range(int(first), int(*last or [first]) + 1)
    ]


def test_a_million_runs_are_a_million_counts(counter: Counter) -> None:
    """Of one frame."""
    fields, frame = p.KINDS["802.1ad, 802.1Q"]
    once = astuple(counts(frame, fields))

    assert counter.run(frame, repeat=1_000_000) == Counts(*(1_000_000 * field for field in once))


@settings(deadline=None, max_examples=1000)
@given(frame=p.ip_frames | binary(min_size=14, max_size=300))
def test_any_frame_is_counted_as_by_the_oracle(counter: Counter, frame: bytes) -> None:
    """The classes add up to the total."""
    counted = counter.run(frame)

    assert counted.total == counted.tcp + counted.udp + counted.icmp + counted.other == 1
    assert counted.ipv4 + counted.ipv6 <= 1
    assert counted.bytes == len(frame)
    assert counted == classify(frame)


@settings(deadline=None, max_examples=1000)
@given(frame=p.ip_frames, cut=integers(0, 200))
def test_any_frame_is_counted_the_same_in_pieces(
    fragmenting_counter: Counter, frame: bytes, cut: int
) -> None:
    """Wherever its linear part ends."""
    assert fragmenting_counter.run(frame, linear=cut % len(frame)) == classify(frame)


def loads(*prefix: str, frags: bool) -> bool:
    """Return whether a process that *prefix* starts can load the program."""
    script = f"from sidecar.kernel import libbpf; libbpf.load_packet_counter(frags={frags}).close()"
    command = [*prefix, sys.executable, "-c", script]
    return subprocess.run(command, check=False, capture_output=True, cwd=REPOSITORY).returncode == 0


def test_two_capabilities_suffice_to_load_it(needs_frags: None) -> None:
    """CAP_BPF and CAP_NET_ADMIN load the multi-buffer program."""
    assert not loads("setpriv", "--bounding-set=-all,+bpf", frags=True)
    assert loads("setpriv", "--bounding-set=-all,+bpf,+net_admin", frags=True)


def test_the_linear_program_needs_a_third_capability() -> None:
    """CAP_PERFMON."""
    assert not loads("setpriv", "--bounding-set=-all,+bpf,+net_admin", frags=False)
    assert loads("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon", frags=False)


@pytest.mark.parametrize("frags", [True, False], ids=["frags", "linear"])
def test_a_kernel_without_btf_can_load_it(frags: bool, request: pytest.FixtureRequest) -> None:
    """The program needs no type information of the kernel."""
    if frags:
        request.getfixturevalue("needs_frags")
    hide = 'mount -t tmpfs none /sys/kernel && test ! -e /sys/kernel/btf && exec "$@"'

    assert loads("unshare", "--mount", "sh", "-c", hide, "sh", frags=frags)


def test_an_object_of_another_version_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout that was updated but not built again: libbpf would crash on what is missing."""
    other = compile_object(MAPS / "flows.bpf.c", tmp_path / "other.o").read_bytes()
    monkeypatch.setattr(libbpf, "object_bytes", lambda *_: other)

    with pytest.raises(KernelError, match=r"it has no program \w+, so it is of another version: build it"):
        libbpf.load_packet_counter()
