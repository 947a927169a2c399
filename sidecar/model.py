# SPDX-License-Identifier: Apache-2.0
"""The frozen values that the stages of the pipeline hand to each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

Totals = Mapping[bytes, tuple[int, ...]]
"""For each key of a map (its raw bytes), one counter for each field of the layout, in the layout's order."""

Attribute = tuple[str, "str | int"]


@dataclass(frozen=True)
class Field:
    """One unsigned counter within a map's value; *offset* and *size* in bytes."""

    name: str
    offset: int
    size: int = 8


@dataclass(frozen=True)
class Layout:
    """Where the counters lie in a map's value of *value_size* bytes."""

    value_size: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class MapIdentity:
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
class Snapshot:
    """
    One reading of one map, summed over the possible CPUs.

    Attributes:
        identity: The map that was read.
        born_ns: Since when the map counts, Unix time in ns: the load time of the oldest program that uses it.
        taken_ns: Unix time in ns, taken before the read.
        totals: Its counters.

    """

    identity: MapIdentity
    born_ns: int
    taken_ns: int
    totals: Totals


@dataclass(frozen=True)
class Baseline:
    """
    Where the streams of a source stand: what has been reported up to *end_ns*.

    Attributes:
        identity: The map that the totals belong to.
        birth_ns: Start of the very first window, Unix ns; it never changes while the streams live.
        end_ns: End of the last window, Unix ns; the next window starts there.
        settled_ns: End of the last window that the Collector is known to have, Unix ns; a base point ends
            there. It is earlier than *end_ns* only if windows were given up since.
        totals: The map's own counters at the last reading.
        finished: What earlier generations of the map had counted when they ended, or when they were emptied.

    """

    identity: MapIdentity
    birth_ns: int
    end_ns: int
    settled_ns: int
    totals: Totals
    finished: Totals = field(default_factory=dict)


class Temporality(Enum):
    """
    How counts are said in OTLP (specification, `metrics/data-model.md`, "Temporality").

    DELTA: what was counted in (start, end].
    DELTA_WITH_BASE: the same, and before it a point (birth, settled] with all that was reported so far. A
        Collector that lost its state takes it as first sample; one that has its state drops it as known.
    CUMULATIVE: everything in (birth, end].
    """

    DELTA = "delta"
    DELTA_WITH_BASE = "delta with base point"
    CUMULATIVE = "cumulative"


@dataclass(frozen=True)
class Series:
    """
    What one key of one source counted, field by field.

    Attributes:
        attributes: Attributes of its points.
        birth_ns: Since when its totals count, Unix ns; never changes while the series lives.
        settled_ns: Up to when the Collector is known to have it, Unix ns.
        start_ns: Start of the window, Unix ns: the end of the last one.
        end_ns: End of the window, Unix ns.
        counts: What was counted in (start_ns, end_ns].
        totals: What was counted in (birth_ns, end_ns].

    """

    attributes: tuple[Attribute, ...]
    birth_ns: int
    settled_ns: int
    start_ns: int
    end_ns: int
    counts: tuple[int, ...]
    totals: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """
    A frozen batch: the same bytes for ever, and the baselines that hold once they are acknowledged.

    Attributes:
        requests: Serialized ExportMetricsServiceRequests.
        baselines: The next baseline of each source that is in the batch.

    """

    requests: tuple[bytes, ...]
    baselines: Mapping[str, Baseline]


@dataclass(frozen=True)
class Record:
    """
    All that has to survive the process: the journal's content.

    Attributes:
        sequence: Counts the batches, from 1.
        acknowledged: The baseline of each source as of the last acknowledged batch.
        pending: The one batch that is not acknowledged yet, or None.
        seen: What each source was last read as. It is reported even if the map is gone by then: after a
            reboot, or a reload while no sidecar ran.

    """

    sequence: int = 0
    acknowledged: Mapping[str, Baseline] = field(default_factory=dict)
    pending: Batch | None = None
    seen: Mapping[str, Sequence[Snapshot]] = field(default_factory=dict)
