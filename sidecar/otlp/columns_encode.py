# SPDX-License-Identifier: Apache-2.0
"""
From series in columns to the bytes of requests: the same as `otlp_encode` makes of them, by numpy (pure).

`columnar_points` makes the points; here is what is around them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.attributes import varint
from sidecar.counts.columns import SeriesTable
from sidecar.counts.columns.arrays import Bytes
from sidecar.model import Attribute, Attributes, Temporality
from sidecar.otlp import message
from sidecar.otlp.columns_points import Bodies, Group
from sidecar.schema import SUMS, Instrument, Kind, Schema
from sidecar.u64 import LARGEST_COUNT

# Tags of the fields that a request is nested of.
_RESOURCE_METRICS, _SCOPE_METRICS, _METRIC, _GAUGE, _SUM = b"\x0a", b"\x12", b"\x12", b"\x2a", b"\x3a"

_LARGEST_COUNT = np.uint64(LARGEST_COUNT)

# Series that are laid out at once: more need more memory, fewer more time.
_AT_ONCE = 8192

Part = bytes | memoryview


def is_plain(temporality: Temporality, schema: Schema, series: SeriesTable) -> bool:
    """Return whether all of it can be said, and no time is zero: protobuf leaves such a field out."""
    if not schema.instruments or not series or not series.start_time_ns or not series.start_ns.all():
        return False
    for at, instrument in schema.positions(*Kind):
        if instrument.kind is Kind.COUNTER:
            counts, totals = series.counts[at], series.totals[at]
            said = counts if temporality is Temporality.DELTA else totals
            if max(said.max(), counts.max()) > _LARGEST_COUNT:
                return False
            if temporality is Temporality.DELTA_WITH_BASE and (totals < counts).any():
                return False
        elif instrument.kind is Kind.GAUGE and not schema.layout.fields[at].signed:
            values = series.counts if series.values is None else series.values
            if values[at].max() > _LARGEST_COUNT:
                return False
    return True


@dataclass(frozen=True)
class _Metric:
    """What is around the points of one metric, and where they are: the group and the row."""

    head: bytes
    tag: bytes
    tail: bytes
    group: int
    row: int


class _Encoder:
    """Makes requests of one source's series."""

    def __init__(self, resource: Sequence[Attribute], temporality: Temporality, schema: Schema) -> None:
        self._temporality = temporality
        self.most = max(1, message.POINTS_PER_REQUEST // len(schema.instruments))
        scope, whole = message.envelope(resource)
        self._scope, self._whole = scope.SerializeToString(), whole.SerializeToString()
        self._groups: dict[tuple[Kind | None, tuple[Attributes, ...]], Group] = {}
        self._metrics = [self._metric(placed) for placed in _by_metric(schema)]

    def _metric(self, placed: Sequence[tuple[int, Instrument]]) -> _Metric:
        kind = placed[0][1].kind
        form = None if kind in SUMS else kind, tuple(instrument.attributes for _, instrument in placed)
        group = self._groups.setdefault(form, Group(*form, []))
        group.fields.append([at for at, _ in placed])
        empty = message.empty_metric(placed[0][1], self._temporality)
        tag, tail = (_SUM, empty.sum) if kind in SUMS else (_GAUGE, empty.gauge)
        tail_bytes = tail.SerializeToString()
        empty.ClearField("data")
        place = list(self._groups).index(form)
        return _Metric(empty.SerializeToString(), tag, tail_bytes, place, len(group.fields) - 1)

    def requests(self, series: SeriesTable) -> Iterator[bytes]:
        """Yield the requests of some series: each with as many as the plain way would put into it."""
        made = [Bodies(group, series, self._temporality) for group in self._groups.values()]
        for first in range(0, len(series), self.most):
            yield from self._halved(made, first, min(first + self.most, len(series)))

    def _halved(self, made: Sequence[Bodies], first: int, last: int) -> Iterator[bytes]:
        """Yield one request, or several if it would be too large."""
        encoded = self._request([one.between(first, last) for one in made])
        if len(encoded) <= message.LARGEST_REQUEST_BYTES or last - first == 1:
            yield encoded
            return
        middle = first + (last - first) // 2
        yield from self._halved(made, first, middle)
        yield from self._halved(made, middle, last)

    def _request(self, bodies: Sequence[Bytes]) -> bytes:
        metrics: list[Part] = []
        for one in self._metrics:
            data = _framed(one.tag, [bodies[one.group][one.row].data, one.tail])
            metrics += _framed(_METRIC, [one.head, *data])
        return b"".join(
            _framed(_RESOURCE_METRICS, [self._whole, *_framed(_SCOPE_METRICS, [self._scope, *metrics])])
        )


def requests(
    resource: Sequence[Attribute], temporality: Temporality, schema: Schema, series: SeriesTable
) -> Iterator[bytes]:
    """Yield the requests that `otlp_encode.encode` makes of one source."""
    encoder = _Encoder(resource, temporality, schema)
    some = encoder.most * max(1, _AT_ONCE // encoder.most)
    for at in range(0, len(series), some):
        yield from encoder.requests(series.only(slice(at, at + some)))


def _by_metric(schema: Schema) -> Iterable[Sequence[tuple[int, Instrument]]]:
    """Return the instruments, those of one metric together, each after the place of its field."""
    found: dict[tuple[str, str, Kind], list[tuple[int, Instrument]]] = {}
    for at, instrument in schema.positions(*Kind):
        found.setdefault(instrument.metric, []).append((at, instrument))
    return found.values()


def _framed(tag: bytes, parts: list[Part]) -> list[Part]:
    return [tag + varint(sum(map(len, parts))), *parts]
