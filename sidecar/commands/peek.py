# SPDX-License-Identifier: Apache-2.0
"""
Read sources without attaching, exporting or writing anything.

`check`, `dump` and `top` show the series that `run` would export, computed by the same code.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from sidecar.counts import delta
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, SourceError, each, placed
from sidecar.histogram import Histogram
from sidecar.kernel import elsewhere, pins
from sidecar.kernel.interface import Interface
from sidecar.log_fields import about
from sidecar.model import ALL_VIEWS, Attributes, Series, Snapshot
from sidecar.schema import Schema
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source
from sidecar.u64 import signed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A series: its attributes, its numbers as in `Schema.numbers`, and its views as in `model.Series`."""

    attributes: Attributes
    numbers: tuple[int, ...]
    views: int = ALL_VIEWS


@dataclass(frozen=True)
class Column:
    """
    What is shown of a series under one title: a number, or the buckets of a histogram.

    Attributes:
        title: The name of the number; of a histogram, of what counts its buckets.
        bit: The view that it belongs to, as a bit.
        places: The indices of its numbers.
        sums: The indices of the numbers whose total is the sum of a histogram.
        histogram: The histogram; None for a number.

    """

    title: str
    bit: int
    places: tuple[int, ...]
    sums: tuple[int, ...] = ()
    histogram: Histogram | None = None

    def number(self, numbers: Sequence[int]) -> int:
        """Return the number; of a histogram, how many it counted."""
        return sum(numbers[at] for at in self.places)

    def text(self, numbers: Sequence[int]) -> str:
        """Return the number as text; of a histogram also what it counted: `7 (≤15: 5, ≤31: 2, sum: 99)`."""
        total = f"{self.number(numbers):,}"
        if self.histogram is None:
            return total
        bounds = (*(f"≤{bound:g}" for bound in self.histogram.bounds), "more")
        counts = zip(bounds, (numbers[at] for at in self.places), strict=True)
        shown = [f"{bound}: {count:,}" for bound, count in counts if count]
        if self.sums:
            total_sum: float = self.histogram.scale(sum(numbers[at] for at in self.sums))
            shown.append(f"sum: {total_sum:,.0f}" if total_sum.is_integer() else f"sum: {total_sum:,g}")
        return f"{total} ({', '.join(shown)})" if shown else total


def shown(schema: Schema, views: int = ALL_VIEWS) -> list[Column]:
    """Return what is shown of a series that has these views: histograms stand for what counts in them."""
    histograms = [each for each in schema.instruments if each.histogram]
    hidden = {name for each in histograms for name in each.numbers}
    bits = {part.view.name: part.bit for part in schema.parts}
    columns = [
        Column(
            instrument.field + instrument.view,
            bits[instrument.view],
            schema.places(instrument).counts,
            schema.places(instrument).sums,
            instrument.histogram,
        )
        for instrument in histograms
    ]
    columns += [
        Column(number.name, part.bit, (schema.index[number.name],))
        for part in schema.parts
        for number in part.numbers
        if number.name not in hidden
    ]
    return [column for column in columns if column.bit & views]


@contextmanager
def opened(specs: Sequence[SourceSpec]) -> Iterator[list[Source]]:
    """Open the sources of *specs* for the block, with distinct attributes as in `run`; raise SidecarError."""
    with ExitStack() as stack:

        def opened_source(spec: SourceSpec, *, is_member: bool) -> Source | None:
            try:
                with placed(spec.at):
                    found = source(spec)
                found.open()
            except SidecarError as error:
                if not is_member:
                    raise
                log.warning("left out: %s", error, extra=about(locate.name_of(spec)))
                return None
            stack.callback(found.close)
            return found

        sources = [
            found
            for found in each(lambda one: opened_source(one[0], is_member=one[1]), locate.expanded(specs))
            if found
        ]
        if not sources:
            patterns = ", ".join(str(spec.map_ref) for spec in specs)
            raise SourceError(
                f"read {patterns}", "nothing that matches is counted", "`xdp-otel discover` shows what is"
            )
        tell_apart(sources)
        yield sources


def source(spec: SourceSpec) -> Source:
    """Return the source of *spec*, not open yet; of an interface, that of its pin. Raise SidecarError."""
    interface = locate.interface_of(spec.map_ref)
    if interface is None:
        return locate.source(spec)
    if not is_counted(interface):
        what = f"read the counts of {interface}"
        elsewhere.require_interface(interface, what)
        where = f" --netns {interface.netns}" if interface.netns else ""
        where += "" if interface.direction == "receive" else f" --direction {interface.direction}"
        where += "" if interface.counted == "packets" else " --packet-sizes"
        raise SourceError(
            what,
            "xdp-otel has no map there",
            f"attach the shipped program: `xdp-otel attach --interface {interface.name}{where}`; "
            f"or read a map of the program that is there: `--map-name {interface.name}:NAME`",
        )
    # Opening an interface as a source attaches to it; opening its pin does not.
    pin = MapRef("pin", str(interface.map_pin))
    found = locate.source(replace(locate.with_interface_name(spec, interface), map_ref=pin))
    found.name = f"interface:{interface}"
    return found


def is_counted(interface: Interface) -> bool:
    """Return whether the shipped program has a pinned map for *interface*; raise RightsError."""
    with pins.opened("map", interface.map_pin, readonly=True) as map_fd:
        return map_fd is not None


def rows(schema: Schema, snapshot: Snapshot) -> list[Row]:
    """Return the series of a snapshot with their totals since the map was created, sorted by attributes."""
    series = delta.advance(delta.baseline_from_zero(snapshot), [snapshot], schema).series
    read = (Row(each.attributes, totals(schema, each), each.views) for each in series)
    return sorted(read, key=sort_key)


def totals(schema: Schema, series: Series) -> tuple[int, ...]:
    """Return the totals of a series; of fields that are not summed, what they hold."""
    if schema.only_sums:
        return with_sign(schema, series.totals)
    both = zip(schema.numbers, series.totals, series.values, strict=True)
    return with_sign(schema, [total if field.aggregate == "sum" else value for field, total, value in both])


def numbers(columns: Sequence[Column], of_series: Sequence[int]) -> tuple[int, ...]:
    """Return the number of each column, given all numbers of a series."""
    return tuple([column.number(of_series) for column in columns])


def sort_key(row: Row) -> list[tuple[str, bool, str | int]]:
    """Return what sorts series by their attributes, although strings and numbers do not compare."""
    return [(name, isinstance(value, str), value) for name, value in row.attributes]


def with_sign(schema: Schema, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return *numbers*, modulo 2^64 as in a series, with those of signed fields as signed integers."""
    fields = schema.numbers
    if not any(field.signed for field in fields):
        return tuple(numbers)
    return tuple(
        signed(number) if field.signed else number for field, number in zip(fields, numbers, strict=True)
    )


def describe(source: Source) -> str:
    """Return the map of an open source: `map flows, id 30, LRU_HASH`."""
    info = source.info
    return f"map {info.name}, id {info.id}, {info.kind.name}"


def columns(rows: Sequence[Row]) -> list[str]:
    """Return the attribute names of *rows*, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name, _ in row.attributes))


def values(row: Row, names: Sequence[str]) -> list[str]:
    """Return the values of the attributes *names* as text; empty where the series lacks one."""
    attributes = dict(row.attributes)
    return [text(attributes.get(name)) for name in names]


def text(value: str | int | bool | None) -> str:
    """Return an attribute value as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
