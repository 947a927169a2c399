# SPDX-License-Identifier: Apache-2.0
"""
From series in columns to the bytes of requests: the same bytes as `otlp.encode` returns, by numpy (pure).

`columns_points` lays out the points; this module puts metrics and requests around them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from sidecar.counts.columns import SeriesTable
from sidecar.model import Attribute, Temporality
from sidecar.otlp import message
from sidecar.otlp.columns_exponential import ExponentialBodies
from sidecar.otlp.columns_points import Bodies, Form, Group
from sidecar.otlp.columns_views import Share, side_by_side
from sidecar.schema import Instrument, Schema
from sidecar.u64 import LARGEST_COUNT

_LARGEST_COUNT = np.uint64(LARGEST_COUNT)

# Series that are laid out at once: more need more memory, fewer more time. Up to this many, all series of a
# window are, and stay so for the next one.
_AT_ONCE = 8192
_MOST_KEPT = 1 << 17


def is_encodable(temporality: Temporality, schema: Schema, series: SeriesTable) -> bool:
    """Return whether every value fits its point and no time is zero, which protobuf would omit."""
    if any(len({Form.of(each) for _, each in metric}) > 1 for metric in _by_metric(schema)):
        return False
    if any(len(runs) > 1 and Form.of(runs[0][0][1]).exponential for runs in map(_runs, _by_metric(schema))):
        return False
    if not schema.instruments or not series or not series.start_time_ns or not series.start_ns.all():
        return False
    return all(_fits(temporality, schema, series, at, instrument) for at, instrument in schema.positions)


def _fits(
    temporality: Temporality, schema: Schema, series: SeriesTable, at: int, instrument: Instrument
) -> bool:
    kind = instrument.kind
    if instrument.is_double or instrument.histogram or kind.is_signed(schema.numbers[at]):
        return True
    if not kind.is_sum:
        return bool(kind.read(series, at).max() <= _LARGEST_COUNT)
    counts, totals = series.counts[at], series.totals[at]
    if temporality is Temporality.DELTA:
        return bool(counts.max() <= _LARGEST_COUNT)
    # With totals of at least the counts, all that a base point or a cumulative one holds fits too.
    return bool(totals.max() <= _LARGEST_COUNT and (counts <= totals).all())


@dataclass(frozen=True)
class _Run:
    """
    Adjacent instruments of a metric that belong to one view.

    Attributes:
        position: That of the first instrument in the schema.
        instrument: The first instrument.
        bit: That of the view.
        group: The group that has their points.
        row: Their row there.

    """

    position: int
    instrument: Instrument
    bit: int
    group: int
    row: int


class _Encoder:
    """Encodes the series of one source."""

    def __init__(self, resource: Sequence[Attribute], temporality: Temporality, schema: Schema) -> None:
        self._resource, self._temporality, self._schema = resource, temporality, schema
        self.most = max(1, message.POINTS_PER_REQUEST // schema.size)
        self._groups: dict[object, Group] = {}
        each = list(enumerate(instrument for _, instrument in schema.positions))
        # Of the same instrument twice the first one counts.
        positions = {instrument: at for at, instrument in reversed(each)}
        self._metrics = [
            [self._place(run, positions[run[0][1]]) for run in _runs(placed)] for placed in _by_metric(schema)
        ]

    def _place(self, placed: Sequence[tuple[int, Instrument]], position: int) -> _Run:
        first, suffixes = placed[0][1], tuple(instrument.attributes for _, instrument in placed)
        form, bit = Form.of(first), self._schema.bits[first.view]
        # The points of each exponential histogram have lengths of their own.
        key = form, suffixes, bit, form.exponential and first.name
        group = self._groups.setdefault(key, Group(form, suffixes, [], bit))
        group.metrics.append(list(placed))
        return _Run(position, first, bit, list(self._groups).index(key), len(group.metrics) - 1)

    def requests(self, series: SeriesTable) -> Iterator[bytes]:
        """Yield the requests of some series, as many in each as `otlp.encode` would put into it."""
        shares = {bit: Share.of(series, bit) for bit in {group.bit for group in self._groups.values()}}
        groups = [
            (ExponentialBodies if group.form.exponential else Bodies)(
                self._schema, group, shares[group.bit].series, self._temporality
            )
            for group in self._groups.values()
        ]

        def encode_range(first: int, last: int) -> bytes:
            some = {bit: share.between(first, last) for bit, share in shares.items()}
            of_groups = [some[group.bit] for group in self._groups.values()]
            bodies = [
                group.between(which.start, which.stop) if which else ()
                for group, which in zip(groups, of_groups, strict=True)
            ]
            metrics: list[message.Part] = []
            for instrument, runs in self._in_order(shares, some):
                made = [bodies[run.group][run.row] for run in runs]
                if len(runs) > 1:
                    rows = [shares[run.bit].rows(some[run.bit]) - first for run in runs]
                    of_runs = ((groups[run.group], some[run.bit]) for run in runs)
                    sizes = [group.sizes(which) for group, which in of_runs if isinstance(group, Bodies)]
                    made = [side_by_side(made, rows, sizes, last - first)]
                metrics += message.metric(instrument, self._temporality, made[0].data)
            return message.request(self._resource, metrics)

        for first in range(0, len(series), self.most):
            yield from message.within_limit(encode_range, first, min(first + self.most, len(series)))

    def _in_order(
        self, shares: Mapping[int, Share], some: Mapping[int, range]
    ) -> Iterator[tuple[Instrument, Sequence[_Run]]]:
        """
        Yield the metrics that some series of each view have points of: an instrument, and all their runs.

        They are in the order in which the series have their first points.
        """
        begins = {bit: int(shares[bit].rows(which)[0]) for bit, which in some.items() if which}
        metrics = []
        for runs in self._metrics:
            there = [run for run in runs if run.bit in begins]
            if there:
                first = min(there, key=lambda run: (begins[run.bit], run.position))
                metrics.append((begins[first.bit], first.position, first.instrument, there))
        for _, _, instrument, there in sorted(metrics, key=itemgetter(0, 1)):
            yield instrument, there


def requests(
    resource: Sequence[Attribute], temporality: Temporality, schema: Schema, series: SeriesTable
) -> Iterator[bytes]:
    """Yield the requests that `otlp.encode.encode` returns for one source."""
    encoder = _Encoder(resource, temporality, schema)
    if series.row_bytes is not None and len(series) <= _MOST_KEPT:
        yield from encoder.requests(series)
        return
    some = encoder.most * max(1, _AT_ONCE // encoder.most)
    for at in range(0, len(series), some):
        yield from encoder.requests(series.only(slice(at, at + some)))


def _by_metric(schema: Schema) -> Iterable[Sequence[tuple[int, Instrument]]]:
    """Return the instruments grouped by metric, each after the index of its field."""
    metrics: dict[object, list[tuple[int, Instrument]]] = {}
    for at, instrument in schema.positions:
        metrics.setdefault(instrument.metric, []).append((at, instrument))
    return metrics.values()


def _runs(placed: Sequence[tuple[int, Instrument]]) -> Sequence[Sequence[tuple[int, Instrument]]]:
    """Return the instruments of a metric, together those that are adjacent and belong to one view."""
    return [list(run) for _, run in groupby(placed, lambda each: each[1].view)]
