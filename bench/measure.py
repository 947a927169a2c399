# SPDX-License-Identifier: Apache-2.0
"""Clocks: of this process, of one thread, of children, of any process; and how much memory one holds."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from bench.table import Samples

Clock = Callable[[], float]

LONGEST_S = 15.0
"""After so long no further round of one measurement is begun."""


def cpu_s() -> float:
    """Return the CPU seconds of this process."""
    return time.process_time()


def children_s() -> float:
    """Return the CPU seconds of the children that have ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def both_s() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    return cpu_s() + children_s()


def timed(function: Callable[[], object], clock: Clock = cpu_s) -> float:
    """Return what one call takes."""
    before = clock()
    function()
    return clock() - before


def in_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = cpu_s
) -> dict[str, Samples]:
    """
    Measure functions that take turns, so that what else the machine does falls on all of them.

    The rounds are fewer if they take long.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in bounded(rounds):
        for name, function in functions.items():
            taken[name].append(timed(function, clock))
    return {name: Samples(values) for name, values in taken.items()}


def bounded(rounds: int, seconds: float = LONGEST_S) -> Iterator[int]:
    """Yield that many numbers, at least one, and stop when the time is over."""
    deadline = time.monotonic() + seconds
    for turn in range(rounds):
        if turn and time.monotonic() > deadline:
            return
        yield turn


def command_s(*command: str, pass_fds: Sequence[int] = ()) -> float:
    """Run a command to its end; return its CPU seconds and ours for starting it and taking its output."""
    run = partial(subprocess.run, command, check=True, capture_output=True, pass_fds=pass_fds)
    return timed(run, both_s)


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a running process, those of its ended threads included."""
    # clock_getcpuclockid(3) as Linux makes it: include/linux/posix-timers_types.h, CPUCLOCK_SCHED.
    return time.clock_gettime((~pid << 3) | 2)


def rss_mib(pid: int) -> float:
    """Return the memory that a process holds, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def peak_mib(pid: int) -> float:
    """Return the most memory that a process held since it began, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
