# SPDX-License-Identifier: Apache-2.0
"""The frozen values that the stages of the pipeline hand to each other."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from sidecar.u64 import signed

Attribute = tuple[str, "str | int | bool"]

Attributes = tuple[Attribute, ...]
"""What tells a series from the others of its metric; their order is part of it."""

Cells = Mapping[bytes, tuple[int, ...]]
"""For each key of a map (its raw bytes), what its columns hold."""


@dataclass(frozen=True)
class Field:
    """
    One integer of a map's value.

    Attributes:
        name: Its path, `rx.packets`; `value` if the value is a bare integer.
        bit_offset: Where it begins, from the value's first byte, as BTF counts on this machine.
        bits: Its width.
        signed: Whether it is in two's complement.
        big_endian: Whether its bytes are in network order, whatever the machine's.

    """

    name: str
    bit_offset: int
    bits: int = 64
    signed: bool = False
    big_endian: bool = False


@dataclass(frozen=True)
class Layout:
    """Where the fields that are read lie in a map's value of *value_size* bytes."""

    value_size: int
    fields: tuple[Field, ...]

    @cached_property
    def words(self) -> tuple[int, ...] | None:
        """Which words of 64 bits the fields are; None if one is not, in the machine's own order."""
        if all(
            one.bits == 64 and one.bit_offset % 64 == 0 and one.big_endian <= (sys.byteorder == "big")
            for one in self.fields
        ):
            return tuple(one.bit_offset // 64 for one in self.fields)
        return None


class Column(NamedTuple):
    """
    How one field stands in a reading.

    A field of 64 bits is one cell, summed over the CPUs modulo 2^64. A narrower one may wrap on each CPU by
    itself, so it keeps one cell for each.

    Attributes:
        field: The field's name.
        bits: The width of each cell.
        signed: Whether a cell is in two's complement.
        monotonic: Whether it is a counter, so only ever grows; then it is not signed.
        cells: How many cells it has.

    """

    field: str
    bits: int = 64
    signed: bool = False
    monotonic: bool = True
    cells: int = 1


class Fall(NamedTuple):
    """
    A counter that fell while others of its entry did not, so is none.

    Attributes:
        field: The field's name.
        key: Of which entry.
        before: What the cell held.
        now: What it holds.

    """

    field: str
    key: bytes
    before: int
    now: int


class MapIdentity(NamedTuple):
    """
    What makes a map the same map; counters are only comparable within one identity.

    A map id means nothing after a reboot, so the kernel's boot id belongs to it.
    """

    boot_id: str
    map_id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True)
class Reading:
    """What a map held: the cells of each key, column after column."""

    columns: tuple[Column, ...]
    cells: Cells


@dataclass(frozen=True)
class Snapshot:
    """
    One reading of one map.

    Attributes:
        identity: The map that was read.
        counting_since_ns: Unix ns: the load time of the oldest program that uses the map.
        taken_ns: Unix time in ns, taken before the read.
        reading: What it held.
        boottime_ns: CLOCK_BOOTTIME at the same moment, ns; None if another process took it.

    """

    identity: MapIdentity
    counting_since_ns: int
    taken_ns: int
    reading: Reading
    boottime_ns: int | None = field(default=None, compare=False)

    def after_ns(self, wall_ns: int, boottime_ns: int | None) -> int:
        """
        Return how long after a moment it was taken, ns: what a rate is divided by.

        Nobody steps CLOCK_BOOTTIME. The wall clock is asked only if *boottime_ns* is not known; 0 means that
        it was stepped back, so nobody can tell.
        """
        if boottime_ns is None or self.boottime_ns is None:
            return max(0, self.taken_ns - wall_ns)
        return self.boottime_ns - boottime_ns


@dataclass(frozen=True)
class StreamState:
    """
    What was reported of one series.

    Attributes:
        totals: What each field has counted since the source's birth, modulo 2^64.
        end_ns: End of the last window that carried it, Unix ns; its next window starts there.

    """

    totals: tuple[int, ...]
    end_ns: int


@dataclass(frozen=True)
class Baseline:
    """
    Where a source stands: what has been reported up to *end_ns*.

    Attributes:
        start_time_ns: Start of the very first window, Unix ns; it never changes.
        end_ns: End of the last window, Unix ns.
        maps: How its maps were last read, the present one last; the one before it may come back.
        fields: The fields that the streams' totals are of.
        streams: What was reported of each series.
        boottime_ns: CLOCK_BOOTTIME when its newest map was read, ns; None if another process did. The journal
            does not have it.

    """

    start_time_ns: int
    end_ns: int
    maps: Mapping[MapIdentity, Reading]
    fields: tuple[str, ...]
    streams: Mapping[Attributes, StreamState] = field(default_factory=dict)
    boottime_ns: int | None = field(default=None, compare=False)

    @property
    def identity(self) -> MapIdentity:
        """The present map."""
        return next(reversed(list(self.maps)))


class Temporality(Enum):
    """
    How counts are said in OTLP (specification, `metrics/data-model.md`, "Temporality").

    DELTA: what was counted in (start, end].
    DELTA_WITH_BASE: the same, and before it a point (birth, birth + 1 ns] with all that was reported before.
        A Collector without state of the stream takes it as first sample; one that has any drops it as known.
    CUMULATIVE: everything in (birth, end].
    """

    DELTA = "delta"
    DELTA_WITH_BASE = "delta with base point"
    CUMULATIVE = "cumulative"


@dataclass(frozen=True)
class Series:
    """
    What one series of one source counted, field by field, in the order of the schema's layout.

    Attributes:
        attributes: Attributes of its points.
        start_time_ns: Since when its totals count, Unix ns; never changes while the series lives.
        is_new: Whether no window of it was ever made before.
        start_ns: Start of the window, Unix ns: the end of its last one.
        end_ns: End of the window, Unix ns.
        counts: What was counted in (start_ns, end_ns], modulo 2^64.
        totals: What was counted in (start_time_ns, end_ns], modulo 2^64.
        values: What the fields held at *end_ns*, modulo 2^64.
        elapsed_ns: How long it took to count *counts*, whatever was done to the wall clock, ns; 0 if nobody
            can tell.

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

    def rate(self, at: int) -> float:
        """Return the mean growth of a field over the window, per second; 0 if its length is unknown."""
        return signed(self.counts[at]) * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0
