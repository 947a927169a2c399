# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's command in a process that dies at a chosen step, or whose clock is wrong or interval short.

`python -m chaos.child ARGUMENTS` runs `xdp-otel ARGUMENTS`. The sidecar is unchanged: the functions through
which it reaches files, network, map and clock are wrapped from outside.

    CHAOS_DIE=STEP:SIDE:COUNT   SIGKILL itself `before`, `during` or `after` (SIDE) the COUNTth STEP
    CHAOS_CLOCK=FILE            add the seconds in FILE to the wall clock
    CHAOS_SHORTEST=SECONDS      allow an --interval this short, to play days in minutes
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sidecar import bpf_reader, cli, config, otlp_push

STEPS: dict[str, tuple[object, str]] = {
    "read": (bpf_reader, "read"),
    "write": (os, "write"),
    "flush": (os, "fsync"),
    "rename": (os, "rename"),
    "append": (os, "pwritev"),
    "send": (otlp_push.Pusher, "push"),
    "mark": (os, "pwrite"),
}
"""Where a cycle can be interrupted: the function called there, in the order of a cycle."""

OF_A_NEW_FILE = frozenset({"write", "flush", "rename"})
"""Steps of the first record of a process; further records are appended to its file."""

# A gRPC call on the same host takes about a millisecond.
_DURING_S = 0.002


def main() -> int:
    """Return the exit code of the sidecar."""
    if die := os.environ.get("CHAOS_DIE"):
        step, side, count = die.split(":")
        _die_at(*STEPS[step], side, int(count))
    if clock := os.environ.get("CHAOS_CLOCK"):
        _set_clock(Path(clock))
    if shortest := os.environ.get("CHAOS_SHORTEST"):
        config.SHORTEST_INTERVAL_S = float(shortest)
    return cli.main()


def _die_at(owner: object, name: str, side: str, count: int) -> None:
    function: Callable[..., Any] = getattr(owner, name)
    halves = {os.write: _half_written(os.write), os.pwritev: _half_appended(os.pwritev)}
    calls = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and side == "before":
            _die()
        if calls == count and side == "during":
            if half := halves.get(function):
                half(*arguments)
                _die()
            threading.Timer(Random().uniform(0, _DURING_S), _die).start()  # noqa: S311 - no secret
        result = function(*arguments, **named)
        if calls == count and side == "after":
            _die()
        return result

    setattr(owner, name, wrapped)


def _half_written(write: Callable[..., int]) -> Callable[..., int]:
    return lambda fd, data: write(fd, data[: len(data) // 2])


def _half_appended(pwritev: Callable[..., int]) -> Callable[..., int]:
    return lambda fd, parts, *place: pwritev(fd, [parts[0][: len(parts[0]) // 2]], *place)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _set_clock(file: Path) -> None:
    true_ns = time.time_ns

    def shifted_ns() -> int:
        return true_ns() + int(file.read_text()) * 1_000_000_000

    time.time_ns = shifted_ns


if __name__ == "__main__":
    sys.exit(main())
