# SPDX-License-Identifier: Apache-2.0
"""
Open what the flags name to look at it: nothing is attached, sent, or written down.

`check`, `dump` and `top` see the series that `run` would send, made by the same code.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from sidecar.counts import delta
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SourceError
from sidecar.kernel import pins
from sidecar.kernel.interface import Interface
from sidecar.model import Attributes, Snapshot
from sidecar.schema import Schema
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source
from sidecar.u64 import signed


@dataclass(frozen=True)
class Row:
    """One series: its attributes, and one number for each field of the layout."""

    attributes: Attributes
    numbers: tuple[int, ...]


@contextmanager
def opened(specs: Sequence[SourceSpec]) -> Iterator[list[Source]]:
    """Open the sources of *specs* for the block, told apart as `run` does; raise SidecarError as they do."""
    with ExitStack() as stack:
        sources = []
        for spec in specs:
            source = _source(spec)
            source.open()
            stack.callback(source.close)
            sources.append(source)
        tell_apart(sources)
        yield sources


def _source(spec: SourceSpec) -> Source:
    interface = interface_of(spec.map_ref)
    if interface is None:
        return locate.source(spec)
    if not is_counted(interface):
        where = f" --netns {interface.netns}" if interface.netns else ""
        raise SourceError(
            f"read the counts of {interface}",
            "xdp-otel has no map there",
            f"attach the shipped program: `xdp-otel attach --interface {interface.name}{where}`",
        )
    # The source of an interface would attach; that of its pin does not.
    pin = MapRef("pin", str(interface.map_pin))
    source = locate.source(replace(locate.with_interface_name(spec, interface), map_ref=pin))
    source.name = f"interface:{interface}"
    return source


def interface_of(place: MapRef) -> Interface | None:
    """Return the interface that *place* names, or None if it names a map."""
    return Interface(place.value, place.netns) if place.kind == "interface" else None


def is_counted(interface: Interface) -> bool:
    """Return whether the shipped program has its map there; raise RightsError if it may not be looked for."""
    with pins.opened("map", interface.map_pin, readonly=True) as map_fd:
        return map_fd is not None


def rows(schema: Schema, snapshot: Snapshot) -> list[Row]:
    """Return the series that a snapshot comes to, with all that they count; sorted by attributes."""
    series = delta.advance(delta.baseline_from_zero(snapshot), [snapshot], schema).series
    found = [Row(one.attributes, in_own_sign(schema, one.totals)) for one in series]
    return sorted(
        found, key=lambda row: [(name, isinstance(value, str), value) for name, value in row.attributes]
    )


def in_own_sign(schema: Schema, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return *numbers*, one for each field and modulo 2^64, with those of signed fields in their own sign."""
    fields = schema.layout.fields
    if not any(field.signed for field in fields):
        return tuple(numbers)
    return tuple(
        signed(number) if field.signed else number for field, number in zip(fields, numbers, strict=True)
    )


def describe(opened: Source) -> str:
    """Return which map a source has open: `map flows, id 30, LRU_HASH`."""
    info = opened.info
    return f"map {info.name}, id {info.id}, {info.kind.name}"


def many(number: int, one: str, several: str) -> str:
    """Return `1 key`, `2,000 keys`."""
    return f"{number:,} {one if number == 1 else several}"


def columns(found: Sequence[Row]) -> list[str]:
    """Return the names of the attributes of *found*, in the order in which they appear."""
    return list(dict.fromkeys(name for row in found for name, _ in row.attributes))


def text(value: str | int | bool | None) -> str:
    """Return an attribute's value for a table."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
