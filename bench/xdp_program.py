# SPDX-License-Identifier: Apache-2.0
"""The shipped programs: ns per frame, compared with empty ones and the original demo's design."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from statistics import median
from threading import Barrier, Thread

from bench.objects import programs
from bench.place import compile_bpf
from bench.table import Goal, Row, Samples, missing, row
from demo import frames as f
from demo.bpf_commands import prog_test_run
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf

_MAC = bytes.fromhex("020000000001")
_BODY = bytes(30)
_TCP_IPV4 = f.ipv4(f.TCP, f.tcp() + _BODY)
FRAMES = {
    "TCP/IPv4": f.ethernet(_MAC, f.IPV4, _TCP_IPV4),
    "TCP/IPv6": f.ethernet(_MAC, f.IPV6, f.ipv6(f.TCP, f.tcp() + _BODY)),
    "TCP/IPv4 in a VLAN": f.ethernet(_MAC, f.IPV4, _TCP_IPV4, tags=(f.VLAN,)),
    "UDP/IPv4": f.ethernet(_MAC, f.IPV4, f.ipv4(f.UDP, f.udp() + _BODY)),
    "TCP/IPv4 with options": f.ethernet(_MAC, f.IPV4, f.ipv4(f.TCP, f.tcp() + _BODY, options=bytes(4))),
}
_REPEAT = 200_000
_ROUNDS = 41
_ROUNDS_TOGETHER = 21
_OURS, _EMPTY, _SHARED = "xdp_count_frags", "empty", "shared_atomics"
_TCX, _TCX_EMPTY = "tcx_count", "tcx_empty"


def rows() -> Iterator[Row]:
    """Yield the cost of a frame of each kind."""
    with ExitStack() as stack:
        ours = stack.enter_context(libbpf.load_packet_counter(frags=True))
        others = stack.enter_context(programs(compile_bpf("programs.bpf.c")))
        transmits = stack.enter_context(libbpf.load_transmit_counter())
        sizes = stack.enter_context(libbpf.load_packet_counter(frags=True, sizes=libbpf.Sizes()))
        transmitted_sizes = stack.enter_context(libbpf.load_transmit_counter(sizes=libbpf.Sizes()))
        tcx = {_TCX_EMPTY: others[_TCX_EMPTY], _TCX: transmits.prog_fd}
        loaded = {**{name: fd for name, fd in others.items() if name not in tcx}, _OURS: ours.prog_fd}
        cpus = sorted(os.sched_getaffinity(0))
        stack.callback(os.sched_setaffinity, 0, cpus)
        os.sched_setaffinity(0, cpus[-1:])
        for kind, frame in FRAMES.items():
            yield from _alone(kind, frame, loaded)
        for kind, frame in FRAMES.items():
            yield _transmitted(kind, frame, tcx)
        yield _with_statistics(ours.prog_fd)
        yield _with_sizes("XDP", ours.prog_fd, sizes.prog_fd)
        yield _with_sizes("TCX", transmits.prog_fd, transmitted_sizes.prog_fd)
        yield from _together(cpus[:2], loaded)


def _transmitted(kind: str, frame: bytes, loaded: Mapping[str, int]) -> Row:
    taken = _in_rounds(lambda fd: [_ns(fd, frame)], loaded, _ROUNDS)
    return row(
        f"TCX program, {kind}, over an empty one",
        taken[_TCX].over(taken[_TCX_EMPTY]),
        "ns",
        "the empty program",
        taken[_TCX_EMPTY],
        Goal("value", 8) if kind == "TCP/IPv4" else None,
    )


def _alone(kind: str, frame: bytes, loaded: Mapping[str, int]) -> Iterator[Row]:
    first = kind == "TCP/IPv4"
    chosen = loaded if first else {name: loaded[name] for name in (_EMPTY, _OURS)}
    taken = _in_rounds(lambda fd: [_ns(fd, frame)], chosen, _ROUNDS)
    over = {name: samples.over(taken[_EMPTY]) for name, samples in taken.items()}
    yield row(
        f"XDP program, {kind}, over an empty one",
        over[_OURS],
        "ns",
        "the empty program",
        taken[_EMPTY],
        Goal("value", 8) if first else None,
    )
    if first:
        least = Samples([min(taken[_OURS].values) - min(taken[_EMPTY].values)])
        yield row("XDP program, TCP/IPv4, over an empty one, least of all rounds", least, "ns")
        counter = "lookup, packets and bytes alone, over empty"
        yield row(f"XDP: {counter}", over["packets_and_bytes"], "ns", "the empty program", taken[_EMPTY])
        yield row(
            "XDP program, TCP/IPv4, one CPU, over empty",
            over[_OURS],
            "ns",
            "shared atomics over empty",
            over[_SHARED],
            cheaper=True,
        )


def _with_statistics(ours: int) -> Row:
    """Return what a run costs more while the kernel counts and times it (`--program-stats`)."""
    frame = FRAMES["TCP/IPv4"]
    without: list[float] = []
    counted: list[float] = []
    for _ in range(_ROUNDS):
        without.append(_ns(ours, frame))
        statistics = bpf.enable_stats()
        try:
            counted.append(_ns(ours, frame))
        finally:
            os.close(statistics)
    name, reference = "XDP program, TCP/IPv4, with --program-stats, over without", "the program without"
    return row(name, Samples(counted).over(Samples(without)), "ns", reference, Samples(without))


def _with_sizes(hook: str, without: int, sizes: int) -> Row:
    loaded = {"without": without, "sizes": sizes}
    taken = _in_rounds(lambda fd: [_ns(fd, FRAMES["TCP/IPv4"])], loaded, _ROUNDS)
    return row(
        f"{hook} program with --packet-sizes, TCP/IPv4, over without",
        taken["sizes"].over(taken["without"]),
        "ns",
        "without",
        taken["without"],
    )


def _together(cpus: list[int], loaded: Mapping[str, int]) -> Iterator[Row]:
    name, goal = "XDP program, TCP/IPv4, two CPUs at once, over empty", Goal("ratio", 8, at_most=False)
    if len(cpus) < 2:
        yield missing(name, "ns", "this machine has one CPU", goal)
        return
    frame = FRAMES["TCP/IPv4"]
    chosen = {program: loaded[program] for program in (_EMPTY, _OURS, _SHARED)}
    taken = _in_rounds(lambda fd: _on_each(cpus, fd, frame), chosen, _ROUNDS_TOGETHER)
    ours, shared = (taken[program].over(taken[_EMPTY]) for program in (_OURS, _SHARED))
    yield row(name, ours, "ns", "shared atomics over empty", shared, goal, cheaper=True)
    whole = "XDP program, TCP/IPv4, two CPUs at once, in all"
    yield row(whole, taken[_OURS], "ns", "shared atomics", taken[_SHARED], cheaper=True)


def _in_rounds(
    measure: Callable[[int], list[float]], loaded: Mapping[str, int], rounds: int
) -> dict[str, Samples]:
    taken: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(rounds):
        for name, fd in loaded.items():
            taken[name] += measure(fd)
    return {name: Samples(values) for name, values in taken.items()}


def _ns(fd: int, frame: bytes) -> float:
    """Return ns per run by the thread's CPU clock; the kernel's own figure is an integer."""
    return (_thread_ns(fd, frame, _REPEAT + 2) - _around_ns(fd)) / _REPEAT


@cache
def _around_ns(fd: int) -> float:
    """
    Return the overhead of a call.

    Measured with two runs: from the second on, the kernel first patches a jump to the program
    (net/bpf/test_run.c, `bpf_prog_change_xdp`), which takes as long as thousands of runs.
    """
    return median(_thread_ns(fd, FRAMES["TCP/IPv4"], 2) for _ in range(15))


def _thread_ns(fd: int, frame: bytes, repeat: int) -> int:
    begun = time.thread_time_ns()
    prog_test_run(fd, frame, repeat=repeat)
    return time.thread_time_ns() - begun


def _on_each(cpus: list[int], fd: int, frame: bytes) -> list[float]:
    """Return ns per run on each of the CPUs, running at the same time."""
    barrier = Barrier(len(cpus))
    taken: list[float] = []

    def run(cpu: int) -> None:
        os.sched_setaffinity(0, [cpu])  # of this thread
        barrier.wait()
        taken.append(_ns(fd, frame))

    threads = [Thread(target=run, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken
