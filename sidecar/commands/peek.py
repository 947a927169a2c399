# SPDX-License-Identifier: Apache-2.0
"""
Read sources without attaching, exporting or writing anything.

`check`, `dump` and `top` show the series that `run` would export, computed by the same code.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from sidecar.counts import delta
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SourceError, each, placed
from sidecar.kernel import elsewhere, pins
from sidecar.kernel.interface import Interface
from sidecar.model import Attributes, Snapshot
from sidecar.schema import Schema
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source
from sidecar.u64 import signed


@dataclass(frozen=True)
class Row:
    """A series: its attributes, and a number for each field of the layout."""

    attributes: Attributes
    numbers: tuple[int, ...]


@contextmanager
def opened(specs: Sequence[SourceSpec]) -> Iterator[list[Source]]:
    """Open the sources of *specs* for the block, with distinct attributes as in `run`; raise SidecarError."""
    with ExitStack() as stack:

        def opened_source(spec: SourceSpec) -> Source:
            with placed(spec.at):
                found = source(spec)
            found.open()
            stack.callback(found.close)
            return found

        sources = each(opened_source, specs)
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
        raise SourceError(
            what,
            "xdp-otel has no map there",
            f"attach the shipped program: `xdp-otel attach --interface {interface.name}{where}`",
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
    return sorted((Row(each.attributes, with_sign(schema, each.totals)) for each in series), key=sort_key)


def sort_key(row: Row) -> list[tuple[str, bool, str | int]]:
    """Return what sorts series by their attributes, although strings and numbers do not compare."""
    return [(name, isinstance(value, str), value) for name, value in row.attributes]


def with_sign(schema: Schema, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return *numbers*, one per field modulo 2^64, with those of signed fields as signed integers."""
    fields = schema.layout.fields
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
