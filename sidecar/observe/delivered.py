# SPDX-License-Identifier: Apache-2.0
"""What was delivered of each source: the sums of the windows that the Collector acknowledged (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.counts.columns import SeriesTable
from sidecar.counts.window import NextWindow
from sidecar.model import Baseline
from sidecar.schema import Schema
from sidecar.u64 import added, signed


@dataclass(frozen=True)
class Amount:
    """
    What some windows of one source contain.

    Attributes:
        sums: The counts of each field that is exported as a sum, over all series; of a histogram, how many
            it counted.
        points: Number of points, without base points.
        span_ns: Length of the windows together, ns; 0 if it is unknown.

    """

    sums: Mapping[str, int] = field(default_factory=dict)
    points: int = 0
    span_ns: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        sums = dict(self.sums)
        for name, more in other.sums.items():
            sums[name] = sums.get(name, 0) + more
        return Amount(sums, self.points + other.points, self.span_ns + other.span_ns)

    @property
    def rate(self) -> float:
        """The mean growth of the first sum, per second; 0 if the time is unknown."""
        return next(iter(self.sums.values()), 0) * 1e9 / self.span_ns if self.span_ns else 0.0


def amount(schema: Schema, before: Baseline, window: NextWindow) -> Amount:
    """Return what a window contains; *before* is the baseline that it follows."""
    counts = _sums(window, len(schema.numbers))
    sums = {}
    for at, instrument in schema.positions:
        if instrument.histogram:
            sums[instrument.field + instrument.view] = sum(schema.places(instrument).buckets(counts))
        elif instrument.kind.is_sum:
            each = schema.numbers[at]
            sums[each.name] = signed(counts[at]) if instrument.kind.is_signed(each) else counts[at]
    span_ns = window.snapshots[-1].after_ns(before.end_ns, before.boottime_ns)
    return Amount(sums, len(window.to_export) * len(schema.instruments), span_ns)


def _sums(window: NextWindow, fields: int) -> tuple[int, ...]:
    series = window.to_export
    if isinstance(series, SeriesTable):
        return series.sums()
    sums = (0,) * fields
    for each in series:
        sums = added(sums, each.counts)
    return sums


class Ledger:
    """
    Adds up what is delivered: a batch counts once it is acknowledged.

    Attributes:
        lately: What was delivered of each source since it was last taken from here.
        total: What was delivered of each source since the process started.

    """

    def __init__(self) -> None:
        self._pending: dict[str, Amount] = {}
        self.lately: dict[str, Amount] = {}
        self.total: dict[str, Amount] = {}

    def submit(self, source: str, part: Amount) -> None:
        """Take note of one source's part of the batch that is sent next."""
        self._pending[source] = part

    def acknowledge(self) -> None:
        """Count the batch as delivered; one that another process left is unknown here, so counts nothing."""
        for source, part in self._pending.items():
            self.lately[source] = self.lately.get(source, Amount()) + part
            self.total[source] = self.total.get(source, Amount()) + part
        self._pending = {}

    def give_up(self) -> None:
        """Forget the batch."""
        self._pending = {}
