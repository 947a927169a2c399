# SPDX-License-Identifier: Apache-2.0
"""CPU clocks of this process, its children and other processes; memory of a process."""

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
"""No further round of a measurement starts after this time."""


def cpu_s() -> float:
    """Return the CPU seconds of this process."""
    return time.process_time()


def children_s() -> float:
    """Return the CPU seconds of the children that have exited."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def both_s() -> float:
    """Return the CPU seconds of this process and of its children that have exited."""
    return cpu_s() + children_s()


def timed(function: Callable[[], object], clock: Clock = cpu_s) -> float:
    """Return the time of one call."""
    before = clock()
    function()
    return clock() - before


def in_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = cpu_s
) -> dict[str, Samples]:
    """
    Measure functions in turns, so that other load on the machine affects all of them.

    There are fewer rounds if they take long.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in bounded(rounds):
        for name, function in functions.items():
            taken[name].append(timed(function, clock))
    return {name: Samples(values) for name, values in taken.items()}


def bounded(rounds: int, seconds: float = LONGEST_S) -> Iterator[int]:
    """Yield *rounds* numbers, at least one, but stop once time is up."""
    deadline = time.monotonic() + seconds
    for turn in range(rounds):
        if turn and time.monotonic() > deadline:
            return
        yield turn


def command_s(*command: str, pass_fds: Sequence[int] = ()) -> float:
    """Run a command; return its CPU seconds plus ours for starting it and reading its output."""
    run = partial(subprocess.run, command, check=True, capture_output=True, pass_fds=pass_fds)
    return timed(run, both_s)


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a running process, including those of its exited threads."""
    # clock_getcpuclockid(3) on Linux: include/linux/posix-timers_types.h, CPUCLOCK_SCHED.
    return time.clock_gettime((~pid << 3) | 2)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def peak_mib(pid: int) -> float:
    """Return the peak resident memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
