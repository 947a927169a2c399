# SPDX-License-Identifier: Apache-2.0
"""
What the cycles leave in the log and in the sidecar's own metrics.

Once a minute, a line for each source with what was delivered since the last one; the first at once. Without a
Collector nothing is delivered, so the lines have what the maps hold. What each cycle read is for debugging.
"""

import logging
import time
from collections.abc import Callable, Sequence

from sidecar.counts.window import NextWindow
from sidecar.log_fields import about
from sidecar.model import Baseline, Snapshot
from sidecar.observe.delivered import Amount, Ledger, amount
from sidecar.observe.falls import Falls
from sidecar.observe.summary import Summary, amounts, plural, shared_series, shown_rate
from sidecar.observe.telemetry import Telemetry
from sidecar.schema import Schema

log = logging.getLogger(__name__)

_PERIOD_S = 60.0
# A cycle may come a moment before the minute is over.
_SLACK_S = 0.5


class CycleReport:
    """Report what was read, what a batch contains, and what was delivered."""

    def __init__(
        self, telemetry: Telemetry, now: Callable[[], float] = time.monotonic, *, delivers: bool = True
    ) -> None:
        """Report to *telemetry*; *now* is monotonic, seconds. Unless *delivers*, there is no Collector."""
        self._telemetry = telemetry
        self._now = now
        self._delivers = delivers
        self._each_cycle, self._each_minute = Summary(), Summary()
        self._newest: dict[str, tuple[Schema, Snapshot]] = {}
        self._falls = Falls(now)
        self._ledger = Ledger()
        self._sharing: set[int] = set()
        self._minute_at = now() + _PERIOD_S
        self._is_first, self._is_answered = True, False
        # The sources of which some points were delivered.
        self._begun: set[str] = set()

    def reading(self, source: str, schema: Schema, snapshot: Snapshot) -> None:
        """Take the reading of a source's newest map."""
        if not self._delivers:
            self._newest[source] = schema, snapshot
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self._each_cycle.line(source, schema, snapshot), extra=about(source))

    def batch(self, source: str, schema: Schema, before: Baseline, window: NextWindow) -> None:
        """Report a source's part of a new batch, which follows the baseline *before*."""
        if self._delivers:
            self._ledger.submit(source, amount(schema, before, window))
        self._telemetry.record(source, schema, window)
        self._falls.log(source, schema, window)
        self._log_shared_series(source, schema, window)

    def acknowledged(self) -> None:
        """Count the batch as delivered."""
        self._is_answered = True
        self._ledger.acknowledge()

    def given_up(self) -> None:
        """Forget the batch."""
        self._ledger.give_up()

    def minute(self, sources: Sequence[str]) -> None:
        """Log a line for each source at the first delivery, at its own first points, and once a minute."""
        now = self._now()
        begun = self._ledger.delivered - self._begun
        fresh = [source for source in sources if source in begun]
        self._begun.update(fresh)
        is_first = self._is_first and bool(self._newest or self._is_answered)
        is_due = is_first or now >= self._minute_at - _SLACK_S
        if is_due:
            self._is_first = False
            # The minutes stay where they are, whenever the cycles come.
            if is_first:
                self._minute_at = now
            while self._minute_at <= now + _SLACK_S:
                self._minute_at += _PERIOD_S
        for source in sources if is_due else fresh:
            if self._delivers:
                self._log_delivered(source, "delivered", self._ledger.take(source))
            else:
                self._log_held(source)

    def totals(self, sources: Sequence[str]) -> None:
        """Log a line for each source at the end: all that this process has delivered."""
        for source in sources:
            if self._delivers:
                self._log_delivered(source, "delivered in total", self._ledger.total(source))
            else:
                self._log_held(source)

    def _log_delivered(self, source: str, verb: str, part: Amount) -> None:
        since = self._telemetry.pending_since
        pending_s = 0.0 if since is None else self._now() - since
        sums = f"{amounts(part.sums)} | {shown_rate(part.sums, part.rate)} | " if part.sums else ""
        points = plural(part.points, "point")
        log.info(
            "%s %s%s | pending: %s",
            verb,
            sums,
            points if part.points else "nothing",
            "none" if since is None else f"{pending_s:.0f} s",
            extra=about(
                source,
                delivered=part.sums,
                points=part.points,
                rate=round(part.rate, 2),
                pending_s=round(pending_s, 1),
            ),
        )

    def _log_held(self, source: str) -> None:
        if source in self._newest:
            line = self._each_minute.line(source, *self._newest[source])
            log.info("%s", line, extra=about(source))

    def _log_shared_series(self, source: str, schema: Schema, window: NextWindow) -> None:
        """Warn, once for each map, that keys share series although the configuration does not ask for it."""
        newest = window.snapshots[-1]
        keys, map_id = len(newest.reading.cells), newest.identity.map_id
        shared = "" if window.overflowed else shared_series(schema, keys, len(window.series))
        if shared and map_id not in self._sharing:
            self._sharing.add(map_id)
            log.warning("%s", shared, extra=about(source))
