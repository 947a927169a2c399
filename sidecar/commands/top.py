# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel top`: how fast each series grows, refreshed in place; plain lines where there is no terminal."""

import argparse
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
    """A source, and where its series stood at the last reading."""

    def __init__(self, source: Source) -> None:
        """Take an open source and read it; raise SidecarError if that cannot be done."""
        self._source = source
        self._baseline = delta.baseline_from_now(source.read()[-1])

    def turn(self) -> Meter:
        """Read; return what was counted since the last reading."""
        snapshots = self._source.read()
        self._source.release(snapshots[-1].identity)
        schema = self._source.schema
        before = self._baseline
        step = delta.advance(before, snapshots, schema)
        self._baseline = step.baseline
        seconds = snapshots[-1].after_ns(before.end_ns, before.boottime_ns) / 1e9
        return Meter(
            f"{self._source.name}: {peek.describe(self._source)}",
            tuple(field.name for field in schema.layout.fields),
            tuple(peek.Row(one.attributes, peek.in_own_sign(schema, one.counts)) for one in step.series),
            seconds,
        )


def top(flags: argparse.Namespace) -> int:
    """Show rates until Ctrl-C, SIGTERM or the last round; raise SidecarError if a source cannot be read."""
    with ExitStack() as stack:
        sources = stack.enter_context(peek.opened(source_specs(flags)))
        # SIGINT too: who was started in the background of a script has it ignored, and Python leaves it so.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _end)
        watched = [_Watched(source) for source in sources]
        screen = stack.enter_context(Screen(sys.stdout)) if sys.stdout and sys.stdout.isatty() else None
        try:
            _watch(watched, screen, flags.interval, flags.iterations)
        except KeyboardInterrupt:
            return 0  # how it is meant to be ended
    return 0


def _watch(watched: Sequence[_Watched], screen: Screen | None, interval_s: float, rounds: int | None) -> None:
    done = 0
    due = time.monotonic()
    while rounds is None or done < rounds:
        # A reading that took longer than the interval is not made up for.
        due = max(due + interval_s, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
        meters = [one.turn() for one in watched]
        size = shutil.get_terminal_size() if screen else None
        said = lines(time.strftime("%H:%M:%S"), meters, size)
        if screen:
            screen.show(said)
        else:
            print("\n".join(said), end="\n\n", flush=True)
        done += 1


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
