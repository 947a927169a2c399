# SPDX-License-Identifier: Apache-2.0
"""
From series in columns to the bytes of requests: the same bytes as `otlp.encode` returns, by numpy (pure).

`columns_points` lays out the points; this module puts metrics and requests around them.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sidecar.counts.columns import SeriesTable
from sidecar.model import Attribute, Temporality
from sidecar.otlp import message
from sidecar.otlp.columns_exponential import ExponentialBodies
from sidecar.otlp.columns_points import Bodies, Form, Group
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


class _Encoder:
    """Encodes the series of one source."""

    def __init__(self, resource: Sequence[Attribute], temporality: Temporality, schema: Schema) -> None:
        self._resource, self._temporality, self._schema = resource, temporality, schema
        self.most = max(1, message.POINTS_PER_REQUEST // schema.size)
        self._groups: dict[object, Group] = {}
        # Of each metric an instrument, and where its points are: the group and the row there.
        self._metrics = [(placed[0][1], *self._place(placed)) for placed in _by_metric(schema)]

    def _place(self, placed: Sequence[tuple[int, Instrument]]) -> tuple[int, int]:
        form, suffixes = Form.of(placed[0][1]), tuple(instrument.attributes for _, instrument in placed)
        # The points of each exponential histogram have lengths of their own.
        key = form, suffixes, form.exponential and placed[0][1].name
        group = self._groups.setdefault(key, Group(form, suffixes, []))
        group.metrics.append(list(placed))
        return list(self._groups).index(key), len(group.metrics) - 1

    def requests(self, series: SeriesTable) -> Iterator[bytes]:
        """Yield the requests of some series, as many in each as `otlp.encode` would put into it."""
        groups = [
            (ExponentialBodies if group.form.exponential else Bodies)(
                self._schema, group, series, self._temporality
            )
            for group in self._groups.values()
        ]

        def encode_range(first: int, last: int) -> bytes:
            bodies = [group.between(first, last) for group in groups]
            metrics: list[message.Part] = []
            for instrument, group, row in self._metrics:
                metrics += message.metric(instrument, self._temporality, bodies[group][row].data)
            return message.request(self._resource, metrics)

        for first in range(0, len(series), self.most):
            yield from message.within_limit(encode_range, first, min(first + self.most, len(series)))


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
