# SPDX-License-Identifier: Apache-2.0
"""
A real sidecar that times the parts of its cycles: `python -m bench.profiled FILE run OPTIONS...`.

Wraps functions of the pipeline; the time is CPU time of the whole process, including gRPC's threads. At the
end it writes a line of JSON per cycle to FILE: CPU seconds by part, and start and duration (monotonic clock).
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar import cli, pipeline
from sidecar.counts import delta
from sidecar.observe import cycle_report
from sidecar.otlp_push import Pusher
from sidecar.sources.source import Source
from sidecar.state.journal import Journal

WHOLE, WALL, BETWEEN, BEGUN = "whole", "wall", "between", "begun"
PARTS = ("read", "log line", "step", "encode", "journal", "call")
_WHERE: tuple[tuple[str, Any, str], ...] = (
    ("read", Source, "read"),
    ("log line", cycle_report, "amount"),
    ("step", delta, "advance"),
    ("encode", pipeline, "encode"),
    ("journal", Journal, "commit"),
    ("journal", Journal, "acknowledge"),
    ("call", Pusher, "push"),
)


class _Profile:
    """The times of the cycles so far."""

    def __init__(self) -> None:
        self.cycles: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        self._ended = time.process_time()

    def part(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function to record its time."""

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self._now[name] = self._now.get(name, 0.0) + time.process_time() - begun

        return timed

    def cycle(self, function: Callable[..., None]) -> Callable[..., None]:
        """Wrap the function that runs a cycle to record its time and parts."""

        @functools.wraps(function)
        def timed(*arguments: Any) -> None:
            begun, begun_wall = time.process_time(), time.monotonic()
            self._now = {BETWEEN: begun - self._ended}
            function(*arguments)
            self._ended = time.process_time()
            wall = time.monotonic() - begun_wall
            whole = {WHOLE: self._ended - begun, WALL: wall, BEGUN: begun_wall}
            self.cycles.append({**self._now, **whole})

        return timed


def main() -> int:
    """Run the sidecar; return its exit code."""
    file, arguments = Path(sys.argv[1]), sys.argv[2:]
    profile = _Profile()
    for name, owner, attribute in _WHERE:
        setattr(owner, attribute, profile.part(name, getattr(owner, attribute)))
    pipeline.Pipeline.cycle = profile.cycle(pipeline.Pipeline.cycle)  # type: ignore[method-assign]
    try:
        return cli.main(arguments)
    finally:
        file.write_text("".join(f"{json.dumps(cycle)}\n" for cycle in profile.cycles))


if __name__ == "__main__":
    sys.exit(main())
