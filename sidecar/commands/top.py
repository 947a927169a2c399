# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel top`: live rates of each series, redrawn in place; plain lines if stdout is no terminal."""

import argparse
import itertools
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from sidecar.commands import peek
from sidecar.commands.top_screen import Meter, Screen, lines
from sidecar.config import source_specs
from sidecar.counts import delta
from sidecar.sources.source import Source


class _Watched:
    """An open source, and its counts at the last reading."""

    def __init__(self, source: Source) -> None:
        """Read *source* for the first time; raise SidecarError if it cannot be read."""
        self._source = source
        self._baseline = delta.baseline_from_now(source.read()[-1])

    def turn(self) -> Meter:
        """Read the source; return what was counted since the last reading."""
        snapshots = self._source.read()
        self._source.release(snapshots[-1].identity)
        schema = self._source.schema
        before = self._baseline
        window = delta.advance(before, snapshots, schema)
        self._baseline = window.baseline
        seconds = snapshots[-1].after_ns(before.end_ns, before.boottime_ns) / 1e9
        return Meter(
            f"{self._source.name}: {peek.describe(self._source)}",
            tuple(field.name for field in schema.layout.fields),
            tuple(
                peek.Row(series.attributes, peek.with_sign(schema, series.counts)) for series in window.series
            ),
            seconds,
        )


def top(flags: argparse.Namespace) -> int:
    """Show rates until Ctrl-C, SIGTERM or the last iteration; raise SidecarError if a source fails."""
    with ExitStack() as stack:
        sources = stack.enter_context(peek.opened(source_specs(flags)))
        # SIGINT too: a background process of a script starts with SIGINT ignored, and Python keeps that.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        watched = [_Watched(source) for source in sources]
        screen = stack.enter_context(Screen(sys.stdout)) if sys.stdout and sys.stdout.isatty() else None
        try:
            _watch(watched, screen, flags.interval, flags.iterations)
        except KeyboardInterrupt:
            return 0  # the normal end
    return 0


def _watch(
    watched: Sequence[_Watched], screen: Screen | None, interval_s: float, iterations: int | None
) -> None:
    due = time.monotonic()
    for _ in itertools.count() if iterations is None else range(iterations):
        # An interval that a slow reading overran is skipped, not caught up.
        due = max(due + interval_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        meters = [source.turn() for source in watched]
        clock = time.strftime("%H:%M:%S")
        if screen:
            screen.show(lines(clock, meters, shutil.get_terminal_size()))
        else:
            print("\n".join(lines(clock, meters, None)), end="\n\n", flush=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
