# SPDX-License-Identifier: Apache-2.0
"""What was delivered of each source: the sums of the windows that the Collector acknowledged (pure)."""

from dataclasses import dataclass, field

from sidecar.counts.columns import SeriesTable
from sidecar.counts.window import NextWindow
from sidecar.model import Baseline
from sidecar.schema import Schema
from sidecar.u64 import added, signed


@dataclass
class Amount:
    """
    What some windows of one source contain.

    Attributes:
        sums: The counts of each field that is exported as a sum, over all series; of a histogram, how many
            it counted.
        points: Number of points, without base points.
        span_ns: Length of the windows together, ns; 0 if it is unknown.

    """

    sums: dict[str, int] = field(default_factory=dict)
    points: int = 0
    span_ns: int = 0

    def add(self, more: "Amount") -> None:
        """Add what further windows contain."""
        for name, count in more.sums.items():
            self.sums[name] = self.sums.get(name, 0) + count
        self.points += more.points
        self.span_ns += more.span_ns

    @property
    def rate(self) -> float:
        """The mean growth of the first sum, per second; 0 if the time is unknown."""
        return next(iter(self.sums.values()), 0) * 1e9 / self.span_ns if self.span_ns else 0.0


def amount(schema: Schema, before: Baseline, window: NextWindow) -> Amount:
    """Return what a window contains; *before* is the baseline that it follows."""
    counts = _sums(window, len(schema.numbers))
    sums = {
        name: sum(places.buckets(counts)) if places else signed(counts[at]) if is_signed else counts[at]
        for name, at, is_signed, places in schema.counted
    }
    span_ns = window.snapshots[-1].after_ns(before.end_ns, before.boottime_ns)
    return Amount(sums, len(window.to_export) * len(schema.instruments), span_ns)


def _sums(window: NextWindow, fields: int) -> tuple[int, ...]:
    series = window.to_export
    if isinstance(series, SeriesTable):
        return series.sums()
    if not series:
        return (0,) * fields
    sums = series[0].counts
    for each in series[1:]:
        sums = added(sums, each.counts)
    return sums


class Ledger:
    """
    Adds up what is delivered: a batch counts once it is acknowledged.

    Attributes:
        delivered: The sources of which points were delivered.

    """

    def __init__(self) -> None:
        self._pending: dict[str, Amount] = {}
        self._lately: dict[str, Amount] = {}
        self._before: dict[str, Amount] = {}
        self.delivered: set[str] = set()

    def submit(self, source: str, part: Amount) -> None:
        """Take note of one source's part of the batch that is sent next."""
        self._pending[source] = part

    def acknowledge(self) -> None:
        """Count the batch as delivered; one that another process left is unknown here, so counts nothing."""
        for source, part in self._pending.items():
            if source in self._lately:
                self._lately[source].add(part)
            else:
                self._lately[source] = part
            if part.points:
                self.delivered.add(source)
        self._pending = {}

    def take(self, source: str) -> Amount:
        """Return what was delivered of a source since this was last called."""
        lately = self._lately.pop(source, Amount())
        self._before.setdefault(source, Amount()).add(lately)
        return lately

    def total(self, source: str) -> Amount:
        """Return what was delivered of a source since the process started."""
        self.take(source)
        return self._before[source]

    def give_up(self) -> None:
        """Forget the batch."""
        self._pending = {}
