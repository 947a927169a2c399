# SPDX-License-Identifier: Apache-2.0
"""
Prometheus' text format 0.0.4 (pure).

Our own few lines, since prometheus_client makes a float of every counter, wants `_total` on its name, and
costs 2 MB; it is the oracle in the tests. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from sidecar.attributes import from_key_values, split_attributes
from sidecar.counts.columns import EncodedAttributes, SeriesTable, common_prefix
from sidecar.describe import prometheus_names
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
"""Who scrapes says job and instance himself."""

_AT_ONCE = 200
"""Series in a piece of a page."""


class Exposition:
    """
    Writes pages.

    It remembers the labels of large maps' series as text: they are made once in the life of a series, and
    take longer than the numbers.
    """

    def __init__(self, resource: Sequence[Attribute] = ()) -> None:
        """*resource* says who speaks."""
        self._resource = resource
        self._labels: dict[int, tuple[EncodedAttributes, list[str]]] = {}

    def page(self, families: Iterable[Family], measured: SourceSeries) -> Iterator[str]:
        """
        Yield who speaks, its own metrics, and the maps', under the names that our Collector gives them.

        The page is in pieces, each made when it is asked for, so a large one is never there as a whole.
        """
        labels = self._known(measured)
        yield "".join(f"{line}\n" for line in (*_target(self._resource), *_own(families)))
        found: dict[str, list[tuple[int, Instrument, _Source]]] = {}
        for (schema, series), texts in zip(measured, labels, strict=True):
            for at, instrument in schema.positions:
                name = f"xdp_{prometheus_names.metric(instrument.name)}"
                found.setdefault(name, []).append((at, instrument, _Source(schema, series, texts)))
        for name, parts in found.items():
            first = parts[0][1]
            header = _header(name, first.kind.prometheus_type, first.description)
            yield "".join(f"{line}\n" for line in header)
            for at, instrument, source in parts:
                yield from source.samples(name, at, instrument)

    def _known(self, measured: SourceSeries) -> list[list[str]]:
        """Return, for each source, the labels of its series, empty where they are still to be made."""
        found = []
        before, self._labels = self._labels, {}
        for schema, series in measured:
            texts: list[str] = []
            if isinstance(series, SeriesTable):
                texts = _carried_over(before.get(id(schema)), series.names)
                self._labels[id(schema)] = series.names, texts
            found.append(texts)
        return found


def _carried_over(before: tuple[EncodedAttributes, list[str]] | None, names: EncodedAttributes) -> list[str]:
    if before is None:
        return [""] * len(names)
    if before[0] is names:
        return before[1]
    known = common_prefix(before[0], names)
    return before[1][:known] + [""] * (len(names) - known)


class _Source:
    """The series of one source, and of a large one the labels of all that it ever had."""

    def __init__(self, schema: Schema, series: Sequence[Series], texts: list[str]) -> None:
        self._schema, self._series, self._texts = schema, series, texts

    def samples(self, name: str, at: int, instrument: Instrument) -> Iterator[str]:
        """Yield the lines of one instrument, some at once."""
        for first in range(0, len(self._series), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            lines = (
                self._in_columns(self._series.only(some), at, instrument)
                if isinstance(self._series, SeriesTable)
                else self._plain(self._series[some], at, instrument)
            )
            yield "".join([f"{name}{labels}{value}\n" for labels, value in lines])

    def _plain(
        self, series: Sequence[Series], at: int, instrument: Instrument
    ) -> Iterable[tuple[str, float]]:
        for one in series:
            labels = _labels(dict((*one.attributes, *instrument.attributes)))
            yield _braced(labels), instrument.kind.value(one, at, self._schema.layout.fields[at])

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
            more = list(_labels(dict(instrument.attributes)))
            labels = [_braced([*([one[1:-2]] if one[1:] else []), *more]) for one in labels]
        return zip(labels, _values(self._schema, instrument, at, series), strict=True)


def exposition(families: Iterable[Family], measured: SourceSeries, resource: Sequence[Attribute] = ()) -> str:
    """Return a page at once."""
    return "".join(Exposition(resource).page(families, measured))


def _target(resource: Sequence[Attribute]) -> Iterator[str]:
    labels = {
        key: value for key, value in resource if key not in _IDENTITY and not prometheus_names.refused(key)
    }
    if labels:
        yield from _header("xdp_target_info", "gauge", "Target metadata")
        yield f"xdp_target_info{_braced(_labels(labels))}1"


def _own(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        name = f"xdp_otel_{family.name}" + ("_total" if family.kind == "counter" else "")
        yield from _header(name, family.kind, family.help)
        for values, value in family.samples.items():
            yield f"{name}{_braced(_labels(dict(zip(family.labels, values, strict=True))))}{value}"


def _values(schema: Schema, instrument: Instrument, at: int, series: SeriesTable) -> list[float]:
    """Return `Kind.value` of each series."""
    values: NDArray[np.generic] = instrument.kind.read(series, at)
    if instrument.kind.is_signed(schema.layout.fields[at]):
        values = values.view("i8")
    numbers: list[float] = values.tolist()
    return numbers


def _header(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text.translate(_ESCAPES_OF_HELP)}"
    yield f"# TYPE {name} {kind}"


def _labels(attributes: Mapping[str, str | int | bool]) -> Iterable[str]:
    # Of two attributes that are one label, the last one holds.
    return {prometheus_names.label(one[0]): _label(*one) for one in attributes.items()}.values()


def _label(name: str, said: str | int | bool) -> str:
    return f'{prometheus_names.label(name)}="{prometheus_names.value(said).translate(_ESCAPES)}"'


@lru_cache(maxsize=256)
def _pair(said: bytes) -> str:
    """Return the label that one attribute makes, by its bytes; most are of many series."""
    ((name, value),) = from_key_values([KeyValue.FromString(said)])
    return _label(name, value)


def _braced(labels: Iterable[str]) -> str:
    """Return what is between a sample's name and its value."""
    inside = ",".join(labels)
    return f"{{{inside}}} " if inside else " "
