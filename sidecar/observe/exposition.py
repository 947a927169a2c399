# SPDX-License-Identifier: Apache-2.0
"""
Prometheus' text format 0.0.4 (pure).

Written here since prometheus_client turns every counter into a float, requires `_total` in its name, and
takes 2 MB; it is the oracle in the tests. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from sidecar.attributes import from_key_values, split_attributes
from sidecar.counts.columns import EncodedAttributes, SeriesTable, common_prefix
from sidecar.describe import prometheus_names
from sidecar.histogram import Histogram
from sidecar.model import Attribute, Series
from sidecar.observe.telemetry import Family
from sidecar.schema import Instrument, Schema, SourceSeries

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES_OF_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_ESCAPES = {**_ESCAPES_OF_HELP, **str.maketrans({'"': r"\""})}

_IDENTITY = ("service.namespace", "service.name", "service.instance.id")
"""The scraper sets `job` and `instance`, which these would become."""

_SERIES_PER_PIECE = 200


class Exposition:
    """
    Renders pages.

    It caches the labels of the series of large maps as text, since they take longer to render than the values
    and never change.
    """

    def __init__(self, resource: Sequence[Attribute] = ()) -> None:
        """*resource* becomes `xdp_target_info`."""
        self._resource = resource
        self._labels: dict[int, tuple[EncodedAttributes, list[str]]] = {}

    def page(self, families: Iterable[Family], sources: SourceSeries) -> Iterator[str]:
        """
        Yield the resource, the sidecar's own metrics and those of the maps, by the Collector's names.

        Each piece is rendered when the caller asks for it, so a large page is never in memory as a whole.
        """
        labels = self._cached_labels(sources)
        yield "".join(f"{line}\n" for line in (*_target(self._resource), *_own(families)))
        metrics: dict[str, list[tuple[int, Instrument, _Source]]] = {}
        for (schema, series), texts in zip(sources, labels, strict=True):
            for at, instrument in schema.positions:
                name = f"xdp_{prometheus_names.metric(instrument.name)}"
                metrics.setdefault(name, []).append((at, instrument, _Source(schema, series, texts)))
        for name, parts in metrics.items():
            first = parts[0][1]
            header = _header(name, first.kind.prometheus_type, first.description)
            yield "".join(f"{line}\n" for line in header)
            for at, instrument, source in parts:
                if instrument.histogram:
                    yield from source.histogram(name, instrument, instrument.histogram)
                else:
                    yield from source.samples(name, at, instrument)

    def _cached_labels(self, sources: SourceSeries) -> list[list[str]]:
        """Return, for each source, the labels of its series, empty where not rendered yet."""
        labels = []
        before, self._labels = self._labels, {}
        for schema, series in sources:
            texts: list[str] = []
            if isinstance(series, SeriesTable):
                texts = _carried_over(before.get(id(schema)), series.names)
                self._labels[id(schema)] = series.names, texts
            labels.append(texts)
        return labels


def _carried_over(before: tuple[EncodedAttributes, list[str]] | None, names: EncodedAttributes) -> list[str]:
    if before is None:
        return [""] * len(names)
    if before[0] is names:
        return before[1]
    known = common_prefix(before[0], names)
    return before[1][:known] + [""] * (len(names) - known)


class _Source:
    """The series of one source; *texts* caches the labels of a large one."""

    def __init__(self, schema: Schema, series: Sequence[Series], texts: list[str]) -> None:
        self._schema, self._series, self._texts = schema, series, texts

    def samples(self, name: str, at: int, instrument: Instrument) -> Iterator[str]:
        """Yield the lines of one instrument in pieces."""
        for first in range(0, len(self._series), _SERIES_PER_PIECE):
            some = slice(first, first + _SERIES_PER_PIECE)
            lines = (
                self._in_columns(self._series.only(some), at, instrument)
                if isinstance(self._series, SeriesTable)
                else self._plain(self._series[some], at, instrument)
            )
            yield "".join([f"{name}{labels}{value}\n" for labels, value in lines])

    def histogram(self, name: str, instrument: Instrument, of: Histogram) -> Iterator[str]:
        """Yield the lines of a histogram in pieces: for each series its buckets, its sum and its count."""
        places = self._schema.places(instrument)
        bounds = [f'le="{_bound(bound)}"' for bound in (*of.bounds, math.inf)]
        for first in range(0, len(self._series), _SERIES_PER_PIECE):
            lines = []
            for each in self._series[first : first + _SERIES_PER_PIECE]:
                if not self._schema.applies(instrument, each.views):
                    continue
                labels = list(_labels(dict((*each.attributes, *instrument.attributes))))
                counts = [*accumulate(places.buckets(each.totals))]
                lines += [
                    f"{name}_bucket{_braced([*labels, bound])}{count}\n"
                    for bound, count in zip(bounds, counts, strict=True)
                ]
                if places.sums:
                    lines.append(f"{name}_sum{_braced(labels)}{of.scale(places.total(each.totals))}\n")
                lines.append(f"{name}_count{_braced(labels)}{counts[-1]}\n")
            yield "".join(lines)

    def _plain(
        self, series: Sequence[Series], at: int, instrument: Instrument
    ) -> Iterable[tuple[str, float]]:
        for each in series:
            if self._schema.applies(instrument, each.views):
                labels = _labels(dict((*each.attributes, *instrument.attributes)))
                value = instrument.kind.value(each, at, self._schema.numbers[at])
                yield _braced(labels), instrument.scaled(value)

    def _in_columns(
        self, series: SeriesTable, at: int, instrument: Instrument
    ) -> Iterable[tuple[str, float]]:
        texts, names = self._texts, series.names
        places = series.rows.tolist()
        for place in places:
            if not texts[place]:
                texts[place] = _braced(map(_pair, split_attributes(names[place])))
        labels = [texts[place] for place in places]
        if instrument.attributes:
            suffix = list(_labels(dict(instrument.attributes)))
            labels = [_braced([*([text[1:-2]] if text[1:] else []), *suffix]) for text in labels]
        return zip(labels, _values(self._schema, instrument, at, series), strict=True)


def exposition(families: Iterable[Family], sources: SourceSeries, resource: Sequence[Attribute] = ()) -> str:
    """Return a whole page."""
    return "".join(Exposition(resource).page(families, sources))


def _target(resource: Sequence[Attribute]) -> Iterator[str]:
    labels = {
        key: value for key, value in resource if key not in _IDENTITY and not prometheus_names.refused(key)
    }
    if labels:
        yield from _header("xdp_target_info", "gauge", "Target metadata")
        yield f"xdp_target_info{_braced(_labels(labels))}1"


def _own(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        name = f"xdp_{prometheus_names.metric(family.metric.name)}"
        yield from _header(name, family.metric.kind, family.metric.help)
        for values, value in family.samples.items():
            yield f"{name}{_braced(_labels(dict(zip(family.metric.labels, values, strict=True))))}{value}"


def _values(schema: Schema, instrument: Instrument, at: int, series: SeriesTable) -> list[float]:
    """Return `Kind.value` of each series."""
    values: NDArray[np.generic] = instrument.kind.read(series, at)
    if instrument.kind.is_signed(schema.numbers[at]):
        values = values.view("i8")
    if instrument.scale is not None:
        values = instrument.scale(values.astype("f8"))
    numbers: list[float] = values.tolist()
    return numbers


def _bound(bound: float) -> str:
    """Return the upper bound of a bucket as the Collector writes it."""
    if bound == math.inf:
        return "+Inf"
    return str(int(bound)) if bound.is_integer() and abs(bound) < 1e21 else repr(bound)


def _header(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text.translate(_ESCAPES_OF_HELP)}"
    yield f"# TYPE {name} {kind}"


def _labels(attributes: Mapping[str, str | int | bool]) -> Iterable[str]:
    # Of two attributes with the same label name, the last one wins.
    return {prometheus_names.label(name): _label(name, value) for name, value in attributes.items()}.values()


def _label(name: str, value: str | int | bool) -> str:
    return f'{prometheus_names.label(name)}="{prometheus_names.value(value).translate(_ESCAPES)}"'


@lru_cache(maxsize=256)
def _pair(encoded: bytes) -> str:
    """Return the label of one encoded attribute; most belong to many series."""
    ((name, value),) = from_key_values([KeyValue.FromString(encoded)])
    return _label(name, value)


def _braced(labels: Iterable[str]) -> str:
    """Return what stands between the name of a sample and its value."""
    inside = ",".join(labels)
    return f"{{{inside}}} " if inside else " "
