# SPDX-License-Identifier: Apache-2.0
"""What is made of a map: which fields are read, and which metrics and attributes come of them (pure)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sidecar.model import Attribute, Attributes, Column, Layout, Series

Label = Callable[[bytes], Attributes]
"""From a key's raw bytes to the attributes of its series."""

CPU_BYTES = 4
"""Where CPUs are told apart, a key is followed by the CPU's number, in this machine's byte order."""

SOURCE_ATTRIBUTE = "xdp.source"
"""Tells the series of sources apart that would be the same."""

OVERFLOW: Attribute = ("otel.metric.overflow", True)
"""What the series has that takes the counts of those beyond the limit (specification, `metrics/sdk.md`)."""

LARGEST_CARDINALITY = 100_000
"""Series of a source, unless told otherwise: what a Collector with 512 MiB was measured to carry."""


class Kind(Enum):
    """
    What a metric says of a field.

    COUNTER: a monotonic sum.
    UPDOWNCOUNTER: a sum that may fall.
    GAUGE: what the field holds, added up over the CPUs.
    RATE: a gauge, the mean growth over the window, per second.
    """

    COUNTER = "counter"
    UPDOWNCOUNTER = "updowncounter"
    GAUGE = "gauge"
    RATE = "rate"


SUMS = (Kind.COUNTER, Kind.UPDOWNCOUNTER)
"""Kinds that are sums."""

GAUGES = (Kind.GAUGE, Kind.RATE)
"""Kinds that are gauges to OTLP: what was said last holds."""


@dataclass(frozen=True)
class Instrument:
    """
    A metric of one field; several with one name, and attributes that differ, make up one metric.

    Attributes:
        name: OpenTelemetry name.
        unit: UCUM.
        description: One sentence.
        field: The field that it is made of.
        kind: What it says of the field.
        attributes: Attributes of its points beside those of the series.

    """

    name: str
    unit: str
    description: str
    field: str
    kind: Kind = Kind.COUNTER
    attributes: Attributes = ()

    @property
    def metric(self) -> tuple[str, str, Kind]:
        """Which metric it is of."""
        return self.name, self.unit, self.kind


@dataclass(frozen=True)
class Schema:
    """
    What is made of one map.

    Attributes:
        name: Of the profile, or of the map.
        layout: The fields that some instrument uses.
        instruments: The metrics.
        label: Attributes of a key's series.
        attributes: Attributes of all its series.
        cpu: Attribute that says which CPU counted; None to add the CPUs up.
        series_limit: How many series there may be; what is beyond goes to one more, which says so.
        labels: Names of the attributes that *label* may give.
        distinct_keys: Whether the attributes keep keys distinct: two that share a series differ in padding.
        notes: What the user should know of the choices that were left to us.
        warnings: The same, of guesses that may be wrong.

    """

    name: str
    layout: Layout
    instruments: tuple[Instrument, ...]
    label: Label
    attributes: Attributes = ()
    cpu: str | None = None
    series_limit: int = LARGEST_CARDINALITY
    labels: tuple[str, ...] = ()
    distinct_keys: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    _columns: dict[int, tuple[Column, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def has_gauge(self) -> bool:
        """Whether some instrument wants to know what a field holds."""
        return any(one.kind is Kind.GAUGE for one in self.instruments)

    @property
    def has_any_gauge(self) -> bool:
        """Whether some instrument is a gauge to OTLP."""
        return any(one.kind in GAUGES for one in self.instruments)

    def attributes_of(self, key: bytes) -> Attributes:
        """Return the attributes of a key's series; if CPUs are told apart, the CPU's number ends the key."""
        if self.cpu is None:
            return (*self.attributes, *self.label(key))
        number = int.from_bytes(key[-CPU_BYTES:], sys.byteorder)
        return (*self.attributes, *self.label(key[:-CPU_BYTES]), (self.cpu, number))

    def positions(self, *kinds: Kind) -> Iterator[tuple[int, Instrument]]:
        """Yield each instrument of some kinds after the place of its field in a series."""
        place = {field.name: at for at, field in enumerate(self.layout.fields)}
        for instrument in self.instruments:
            if instrument.kind in kinds:
                yield place[instrument.field], instrument

    def columns(self, slots: int) -> tuple[Column, ...]:
        """Return how the fields stand in a reading of a map that answers with *slots* values a key."""
        if slots not in self._columns:
            self._columns[slots] = tuple(self._build_columns(slots))
        return self._columns[slots]

    def _build_columns(self, slots: int) -> Iterator[Column]:
        growing = {one.field for one in self.instruments if one.kind in (Kind.COUNTER, Kind.RATE)}
        for one in self.layout.fields:
            monotonic = not one.signed and one.name in growing
            yield Column(one.name, one.bits, one.signed, monotonic, 1 if one.bits == 64 else slots)


SourceSeries = Sequence[tuple[Schema, Sequence[Series]]]
"""The series of each source, with what they mean."""
