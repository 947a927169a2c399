# SPDX-License-Identifier: Apache-2.0
"""Which metrics a map yields: the fields that are read, their instruments, and their attributes (pure)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sidecar.attributes import encode_attributes
from sidecar.kinds import Kind
from sidecar.model import Attribute, Attributes, Column, Layout, Series

Label = Callable[[bytes], Attributes]
"""From a key's raw bytes to the attributes of its series."""

CPU_BYTES = 4
"""In a schema with an attribute for the CPU, its number ends each key, in this machine's byte order."""

SOURCE_ATTRIBUTE = "xdp.source"
"""Distinguishes series of two sources that would otherwise be the same stream."""

OVERFLOW: Attribute = ("otel.metric.overflow", True)
"""The attribute of the series that aggregates all beyond the limit (specification, `metrics/sdk.md`)."""

LARGEST_CARDINALITY = 100_000
"""Default limit on the series of a source: what a Collector with 512 MiB was measured to carry."""


@dataclass(frozen=True)
class Instrument:
    """
    What is exported of one field. Instruments with the same name and different attributes share a metric.

    Attributes:
        name: OpenTelemetry name.
        unit: UCUM.
        description: One sentence.
        field: The name of the field.
        kind: Counter, updowncounter, gauge or rate.
        attributes: Attributes of its points in addition to those of the series.

    """

    name: str
    unit: str
    description: str
    field: str
    kind: Kind = Kind.COUNTER
    attributes: Attributes = ()

    @cached_property
    def metric(self) -> tuple[str, str, Kind]:
        """What identifies its metric."""
        return self.name, self.unit, self.kind

    @cached_property
    def encoded_attributes(self) -> bytes:
        """Its own attributes as OTLP bytes."""
        return encode_attributes(self.attributes)


@dataclass(frozen=True)
class Schema:
    """
    Which metrics one map yields.

    Attributes:
        name: Of the profile, or of the map.
        layout: The fields that some instrument uses.
        instruments: The metrics.
        label: From a key to attributes.
        attributes: Attributes of all its series.
        cpu: Attribute that holds the number of the CPU; None to add the CPUs up.
        series_limit: How many series there may be; the rest is aggregated into one overflow series.
        labels: Names of the attributes that *label* may return.
        only_used: Whether an entry of zeros is not read: a row of an array that was never used is no series.
        distinct_keys: Whether each key is to have its own series: keys that share one differ in padding.
        notes: Choices made for the user, for the log.
        warnings: The same, of guesses that may be wrong.
        unfit: Why only some of the metrics are there that were asked for; empty if all are.

    """

    name: str
    layout: Layout
    instruments: tuple[Instrument, ...]
    label: Label
    attributes: Attributes = ()
    cpu: str | None = None
    series_limit: int = LARGEST_CARDINALITY
    labels: tuple[str, ...] = ()
    only_used: bool = False
    distinct_keys: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unfit: str = ""
    _columns: dict[int, tuple[Column, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def needs_values(self) -> bool:
        """Whether some instrument exports what a field holds, not only what it counted."""
        return any(instrument.kind.needs_values for instrument in self.instruments)

    @property
    def has_gauges(self) -> bool:
        """Whether some instrument is a gauge in OTLP."""
        return not all(instrument.kind.is_sum for instrument in self.instruments)

    def attributes_of(self, key: bytes) -> Attributes:
        """Return the attributes of a key's series; with an attribute for the CPU, its number ends the key."""
        if self.cpu is None:
            return (*self.attributes, *self.label(key))
        number = int.from_bytes(key[-CPU_BYTES:], sys.byteorder)
        return (*self.attributes, *self.label(key[:-CPU_BYTES]), (self.cpu, number))

    def with_lost_sums(self, before: "Schema") -> "Schema":
        """
        Return the schema with the fields and the sums of *before* that it lacks.

        So the last counts of a map are reported whose successor lost fields. A gauge holds no more.
        """
        names = {each.name for each in self.layout.fields}
        lost = {each.name: each for each in before.layout.fields if each.name not in names}
        if not lost:
            return self
        metrics = {instrument.name for instrument in self.instruments}
        sums = (
            instrument
            for instrument in before.instruments
            if instrument.field in lost and instrument.kind.is_sum and instrument.name not in metrics
        )
        layout = replace(self.layout, fields=(*self.layout.fields, *lost.values()))
        return replace(self, layout=layout, instruments=(*self.instruments, *sums))

    @cached_property
    def positions(self) -> tuple[tuple[int, Instrument], ...]:
        """Each instrument, after the index of its field in a series."""
        index = {field.name: at for at, field in enumerate(self.layout.fields)}
        return tuple((index[instrument.field], instrument) for instrument in self.instruments)

    def columns(self, slots: int) -> tuple[Column, ...]:
        """Return the columns of a reading of a map that has *slots* values for each key."""
        if slots not in self._columns:
            self._columns[slots] = tuple(self._build_columns(slots))
        return self._columns[slots]

    def _build_columns(self, slots: int) -> Iterator[Column]:
        growing = {instrument.field for instrument in self.instruments if instrument.kind.counts_up}
        for each in self.layout.fields:
            monotonic = not each.signed and each.name in growing
            yield Column(each.name, each.bits, each.signed, monotonic, 1 if each.bits == 64 else slots)


SourceSeries = Sequence[tuple[Schema, Sequence[Series]]]
"""The series of each source, with the schema that they follow."""
