# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel top`: live rates of each series, redrawn in place; plain lines if stdout is no terminal."""

import argparse
import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack

from sidecar.commands import peek, top_view
from sidecar.commands.top_screen import CONTINUE, QUIT, RESIZE, SUSPEND, Events, Screen, is_drawable
from sidecar.commands.top_view import Counted, Meter, View
from sidecar.config import source_specs
from sidecar.counts import delta
from sidecar.sources.source import Source


class _Watched:
    """An open source, and its counts at the last reading."""

    def __init__(self, source: Source) -> None:
        """Read *source* for the first time; raise SidecarError if it cannot be read."""
        self._source = source
        snapshot = source.read()[-1]
        # With the totals since the map was created.
        since_created = delta.baseline_from_zero(snapshot)
        self._baseline = delta.advance(since_created, [snapshot], source.schema).baseline

    def turn(self) -> Meter:
        """Read the source; return what was counted since the last reading."""
        snapshots = self._source.read()
        self._source.release(snapshots[-1].identity)
        schema = self._source.schema
        before = self._baseline
        window = delta.advance(before, snapshots, schema)
        self._baseline = window.baseline
        columns = peek.shown(schema)
        return Meter(
            f"{self._source.name}: {peek.describe(self._source)}",
            len(snapshots[-1].reading.cells),
            tuple(column.title for column in columns),
            tuple(
                Counted(
                    series.attributes,
                    peek.numbers(columns, peek.with_sign(schema, series.counts)),
                    peek.numbers(columns, peek.totals(schema, series)),
                )
                for series in window.series
            ),
            snapshots[-1].after_ns(before.end_ns, before.boottime_ns) / 1e9,
        )


def top(flags: argparse.Namespace) -> int:
    """Show rates until `q`, Ctrl-C, SIGTERM or the last iteration; raise SidecarError if a source fails."""
    with ExitStack() as stack:
        sources = stack.enter_context(peek.opened(source_specs(flags)))
        watched = [_Watched(source) for source in sources]
        screen = Screen() if is_drawable() else None
        has_keys = screen is not None and screen.has_keys
        # Entered first, left last: a signal must not end the process before the terminal is as it was.
        events = stack.enter_context(Events(is_drawn=screen is not None, has_keys=has_keys))
        if screen:
            stack.enter_context(screen)
        session = _Session(watched, events, screen)
        is_whole = session.run(flags.interval, flags.iterations)
    if screen and is_whole:
        # The last reading stays, although its screen is gone.
        session.print()
    return 0


class _Session:
    """The readings, and what is shown of the last one."""

    def __init__(self, watched: Sequence[_Watched], events: Events, screen: Screen | None) -> None:
        self._watched = watched
        self._events = events
        self._screen = screen
        self._view = View()
        self._clock = time.strftime("%H:%M:%S")
        self._meters: list[Meter] = []

    def run(self, interval_s: float, iterations: int | None) -> bool:
        """Read every *interval_s* seconds, *iterations* times; return False if the user ends it before."""
        self._draw()
        due = time.monotonic()
        for _ in itertools.count() if iterations is None else range(iterations):
            # An interval that a slow reading overran is skipped, not caught up.
            due = max(due + interval_s, time.monotonic())
            if not self._wait_until(due):
                return False
            self._meters = [source.turn() for source in self._watched]
            self._clock = time.strftime("%H:%M:%S")
            self._draw()
            if self._screen is None:
                self.print()
        return True

    def print(self) -> None:
        """Print the last reading as plain lines."""
        print("\n".join(top_view.plain(self._clock, self._meters)), end="\n\n", flush=True)

    def _wait_until(self, due: float) -> bool:
        """Handle what happens until *due* (monotonic seconds); return False if it ends the command."""
        while True:
            events = self._events.wait(due - time.monotonic())
            if not all(map(self._handle, events)):
                return False
            if events:
                self._draw()
            if time.monotonic() >= due:
                return True

    def _handle(self, event: str) -> bool:
        """Handle an event; return False if it ends the command."""
        if event == QUIT or self._view.quits(event):
            return False
        if event == SUSPEND and self._screen:
            self._screen.suspend()
        elif event == CONTINUE and self._screen:
            self._screen.resume()
        elif event != RESIZE:
            self._view = self._view.after(event)
        return True

    def _draw(self) -> None:
        if self._screen:
            self._screen.show(
                top_view.screen(
                    self._clock,
                    self._meters,
                    self._view,
                    self._screen.size,
                    message=self._screen.message,
                    has_keys=self._screen.has_keys,
                )
            )
