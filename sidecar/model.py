# SPDX-License-Identifier: Apache-2.0
"""The immutable values passed between the stages of the pipeline."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Literal, NamedTuple

from sidecar.u64 import signed

Attribute = tuple[str, "str | int | bool"]

Attributes = tuple[Attribute, ...]
"""The attributes that identify a series within its metric; their order matters."""

Aggregate = Literal["sum", "max", "min", "last"]
"""How one value is made of those of several CPUs, and of several keys that share a series."""

Cells = Mapping[bytes, tuple[int, ...]]
"""The cells of each entry of a map, by its raw key, in the order of the columns."""


@dataclass(frozen=True)
class Field:
    """
    One integer of a map's value.

    Attributes:
        name: Its path, such as `rx.packets`; `value` if the value is a bare integer.
        bit_offset: Its offset from the value's first byte, in bits, as BTF counts them on this machine.
        bits: Its width.
        signed: Whether it is in two's complement.
        big_endian: Whether it is in network byte order, whatever the machine's.
        aggregate: How the CPUs and the keys of a series are combined.
        order: For `last`, the name of the field that is greatest where the value is taken.

    """

    name: str
    bit_offset: int
    bits: int = 64
    signed: bool = False
    big_endian: bool = False
    aggregate: Aggregate = "sum"
    order: str = ""


@dataclass(frozen=True)
class Layout:
    """The fields to read from a map's value of *value_size* bytes."""

    value_size: int
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """Return the field of this name."""
        return next(field for field in self.fields if field.name == name)

    @cached_property
    def words(self) -> tuple[int, ...] | None:
        """The index of each field as an aligned u64 in the machine's byte order; None unless all are."""
        if all(map(_is_native_word, self.fields)):
            return tuple(field.bit_offset // 64 for field in self.fields)
        return None


def _is_native_word(field: Field) -> bool:
    is_native = not field.big_endian or sys.byteorder == "big"
    return is_native and field.aggregate == "sum" and field.bits == 64 and field.bit_offset % 64 == 0


class Column(NamedTuple):
    """
    The cells of one field in a reading.

    A field of 64 bits has one cell, the sum over the CPUs modulo 2^64. A narrower one may wrap on each CPU
    independently, so it has a cell for each CPU.

    Attributes:
        field: The field's name.
        bits: The width of each cell.
        signed: Whether a cell is in two's complement.
        monotonic: Whether it is a counter, which only grows; a signed field never is.
        cells: Number of cells.

    """

    field: str
    bits: int = 64
    signed: bool = False
    monotonic: bool = True
    cells: int = 1


class Fall(NamedTuple):
    """
    A counter that fell while others of its entry did not, so it is no counter.

    Attributes:
        field: The field's name.
        key: The key of its entry.
        before: The cell's value in the baseline.
        now: The cell's value in the reading.

    """

    field: str
    key: bytes
    before: int
    now: int


class MapIdentity(NamedTuple):
    """
    The identity of a map; counters are comparable only within one identity.

    Map ids start again at each boot, so the kernel's boot id is part of it.
    """

    boot_id: str
    map_id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True)
class Reading:
    """
    The contents of a map: the cells of each entry, column after column.

    Attributes:
        columns: The columns.
        cells: The cells by key.
        labels: Attributes that come from the values, by key, if the schema has such. They matter only at the
            moment of reading, so neither the journal nor a comparison includes them.

    """

    columns: tuple[Column, ...]
    cells: Cells
    labels: Mapping[bytes, Attributes] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Snapshot:
    """
    One reading of one map.

    Attributes:
        identity: The map that was read.
        counting_since_ns: When the oldest program that uses the map was loaded, Unix ns.
        taken_ns: CLOCK_REALTIME before the read, Unix ns.
        reading: The map's contents.
        boottime_ns: CLOCK_BOOTTIME at the same moment, ns; None if another process took the snapshot.

    """

    identity: MapIdentity
    counting_since_ns: int
    taken_ns: int
    reading: Reading
    boottime_ns: int | None = field(default=None, compare=False)

    def after_ns(self, wall_ns: int, boottime_ns: int | None) -> int:
        """
        Return the time from a moment to this snapshot, ns: the divisor of a rate.

        CLOCK_BOOTTIME is never stepped. The wall clock is used only if *boottime_ns* is unknown; 0 means that
        it was stepped back, so the time is unknown.
        """
        if boottime_ns is None or self.boottime_ns is None:
            return max(0, self.taken_ns - wall_ns)
        return self.boottime_ns - boottime_ns


class StreamState(NamedTuple):
    """
    What has been reported of one series.

    Attributes:
        totals: The count of each field since the source's start time, modulo 2^64.
        end_ns: End of the last window that exported it, Unix ns; its next window starts there.

    """

    totals: tuple[int, ...]
    end_ns: int


@dataclass(frozen=True)
class Baseline:
    """
    What has been reported of one source, up to *end_ns*.

    Attributes:
        start_time_ns: Start of the very first window, Unix ns; it never changes.
        end_ns: End of the last window, Unix ns.
        maps: The last reading of its maps, the current one last; the one before it may come back.
        fields: The fields of the streams' totals, in their order.
        streams: The state of each series.
        boottime_ns: CLOCK_BOOTTIME when its newest map was read, ns; None if another process read it, since
            the journal does not keep it.

    """

    start_time_ns: int
    end_ns: int
    maps: Mapping[MapIdentity, Reading]
    fields: tuple[str, ...]
    streams: Mapping[Attributes, StreamState] = field(default_factory=dict)
    boottime_ns: int | None = field(default=None, compare=False)

    @property
    def identity(self) -> MapIdentity:
        """The current map."""
        return list(self.maps)[-1]

    def with_streams(self, streams: Mapping[Attributes, StreamState]) -> "Baseline":
        """Return the same baseline with other streams."""
        return Baseline(self.start_time_ns, self.end_ns, self.maps, self.fields, streams, self.boottime_ns)


class Temporality(Enum):
    """
    The temporality of exported sums (OpenTelemetry specification, `metrics/data-model.md`, "Temporality").

    DELTA: the count in (start, end].
    DELTA_WITH_BASE: the same, preceded by a base point (start time, start time + 1 ns] with the total of all
        earlier windows. A Collector without state for the stream takes it as the first sample; any other
        drops it as out of order.
    CUMULATIVE: the count in (start time, end].
    """

    DELTA = "delta"
    DELTA_WITH_BASE = "delta with base point"
    CUMULATIVE = "cumulative"


ALL_VIEWS = -1
"""The views of a series that has all metrics of its schema."""


class Series(NamedTuple):
    """
    One window of one series: its numbers, in the order of the schema's (`Schema.numbers`).

    Attributes:
        attributes: Attributes of its data points.
        start_time_ns: Start of its totals, Unix ns; constant for the life of the series.
        is_new: Whether it has never had a window before.
        start_ns: Start of the window, Unix ns: the end of its last one.
        end_ns: End of the window, Unix ns.
        counts: Counts in (start_ns, end_ns], modulo 2^64.
        totals: Counts in (start_time_ns, end_ns], modulo 2^64.
        values: Values of the fields at *end_ns*, modulo 2^64; empty if no instrument is a gauge.
        elapsed_ns: The true length of the window, ns, whatever happened to the wall clock; 0 if unknown.
        views: The views of the schema in which it has a key, as bits; it has points of their metrics only.

    """

    attributes: Attributes
    start_time_ns: int
    is_new: bool
    start_ns: int
    end_ns: int
    counts: tuple[int, ...]
    totals: tuple[int, ...]
    values: tuple[int, ...] = ()
    elapsed_ns: int = 0
    views: int = ALL_VIEWS

    def rate(self, at: int) -> float:
        """Return the mean growth of a field over the window, per second; 0 if its length is unknown."""
        return signed(self.counts[at]) * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0
