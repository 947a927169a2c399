# SPDX-License-Identifier: Apache-2.0
"""Which metrics a map yields: the fields that are read, their instruments, and their attributes (pure)."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, NamedTuple

from sidecar.attributes import encode_attributes
from sidecar.histogram import Histogram, Places
from sidecar.kinds import Kind
from sidecar.model import ALL_VIEWS, Attribute, Attributes, Column, Field, Layout, Series
from sidecar.scale import Scale

Label = Callable[[bytes], Attributes]
"""From a key's raw bytes, or a value's, to attributes of its series."""


@dataclass(frozen=True)
class LabelPart:
    """
    An attribute that comes from some bytes of a key, or of a value.

    Attributes:
        name: Of the attribute.
        decode: From the raw bytes of the whole key to the attribute's value.
        first: The first byte that *decode* reads.
        last: The one after the last; 0 if it reads others as well.
        form: How these bytes become the value, where there is one way for all: `hex`, `mac`, `ipv4`, or the
            type of a number, as numpy writes it (`>u2`). Empty: only *decode* knows.

    """

    name: str
    decode: Callable[[bytes], str | int | bool]
    first: int = 0
    last: int = 0
    form: str = ""


@dataclass(frozen=True)
class PartsLabel:
    """A `Label` that has an attribute for each of some parts."""

    parts: tuple[LabelPart, ...]

    def __call__(self, raw: bytes) -> Attributes:
        """Return the attributes."""
        return tuple([(part.name, part.decode(raw)) for part in self.parts])


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
        field: The name of the field; of a histogram, of the field or array that counts its buckets.
        kind: Counter, updowncounter, gauge, rate or histogram.
        attributes: Attributes of its points in addition to those of the series.
        view: The name of the view that its numbers belong to.
        scale: The factor that makes its numbers floats in its unit; None: they stay integers.
        histogram: What the points of a histogram are made of.
        reads: The fields of the layout that it uses, if it is a histogram.

    """

    name: str
    unit: str
    description: str
    field: str
    kind: Kind = Kind.COUNTER
    attributes: Attributes = ()
    view: str = ""
    scale: Scale | None = None
    histogram: Histogram | None = None
    reads: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the layout that it uses."""
        return self.reads or (self.field,)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of its numbers; of a histogram, the buckets come first."""
        if self.histogram is None:
            return (self.field + self.view,)
        return (*self.histogram.counts, *self.histogram.sums)

    @property
    def is_double(self) -> bool:
        """Whether its points are floats."""
        return self.kind.is_double or self.scale is not None

    @cached_property
    def size(self) -> int:
        """How many points of a sum are about as large as one of its points."""
        return 1 + len(self.histogram.counts) // 5 if self.histogram else 1

    def scaled(self, value: float) -> float:
        """Return a value in the metric's unit: the same integer if it has no scale, else a float."""
        return value if self.scale is None else self.scale(value)

    @cached_property
    def is_count(self) -> bool:
        """Whether its points are integers that count, with the attributes of the series alone."""
        return self.kind.is_sum and not (self.kind.is_histogram or self.is_double or self.attributes)

    @cached_property
    def metric(self) -> tuple[str, str, Kind]:
        """What identifies its metric."""
        return self.name, self.unit, self.kind

    @cached_property
    def encoded_attributes(self) -> bytes:
        """Its own attributes as OTLP bytes."""
        return encode_attributes(self.attributes)


@dataclass(frozen=True)
class ValueLabel:
    """
    Attributes that come from an entry's value.

    Attributes:
        label: From a value of one CPU to attributes.
        size: Bytes of a value.
        offsets: Those of the bytes that *label* reads, in ascending order.

    """

    label: Label
    size: int
    offsets: tuple[int, ...]

    def read(self, raw: bytes, slots: int) -> bytes:
        """
        Return what *attributes* are made of, given a value as the kernel returns it.

        Of several CPUs it is the copy of the first one that has some: not zeros alone.
        """
        stride = len(raw) // slots
        starts = range(0, len(raw), stride)
        copies = (bytes([raw[start + offset] for offset in self.offsets]) for start in starts)
        return next(filter(any, copies), bytes(len(self.offsets)))

    def attributes(self, read: bytes) -> Attributes:
        """Return the attributes, given the bytes at *offsets*."""
        return self.label(self.value(read))

    def value(self, read: bytes) -> bytes:
        """Return a value that has some bytes at *offsets*, and zeros elsewhere."""
        value = bytearray(self.size)
        for offset, byte in zip(self.offsets, read, strict=True):
            value[offset] = byte
        return bytes(value)

    @cached_property
    def of_zeros(self) -> Attributes:
        """The attributes of a value of zeros."""
        return self.label(bytes(self.size))


@dataclass(frozen=True)
class View:
    """
    Which keys some of the metrics are about, and which series these keys belong to.

    The numbers of a view are the fields of its keys; where the key has the number of a histogram's bucket,
    its fields once for each bucket.

    Attributes:
        name: What follows the name of a field in the names of the view's numbers: `@0`, `@proto=6`, `@slot`.
            Empty for the view of all keys.
        label: From a key to attributes.
        fields: The fields of the layout that its metrics use, each signed if it is for them; None: all.
        selects: Whether a key belongs to the view; None: every key does.
        bucket: From a key to the number of its bucket, below *buckets*.
        buckets: How many buckets the keys tell apart; 0: the key has no number of a bucket.
        row: The key of the row of an array that the view is about: it has a series before it ever counted.

    """

    name: str
    label: Label
    fields: tuple[Field, ...] | None = None
    selects: Callable[[bytes], bool] | None = None
    bucket: Callable[[bytes], int] | None = None
    buckets: int = 0
    row: bytes | None = None

    def number(self, field: str, bucket: int | None = None) -> str:
        """Return the name of one of its numbers: `packets`, `value@0`, `value@slot[3]`."""
        return f"{field}{self.name}" if bucket is None else f"{field}{self.name}[{bucket}]"


class Part(NamedTuple):
    """
    The numbers of one view within those of a series.

    Attributes:
        view: The view.
        bit: Its bit in `Series.views`.
        first: The index of its first number.
        fields: Its fields.
        picks: Their indices in the layout.

    """

    view: View
    bit: int
    first: int
    fields: tuple[Field, ...]
    picks: tuple[int, ...]

    @property
    def numbers(self) -> Iterator[Field]:
        """Its numbers, in their order, each like the field that it comes from."""
        for bucket in range(self.view.buckets) if self.view.buckets else (None,):
            for each in self.fields:
                order = self.view.number(each.order, bucket) if each.order else ""
                yield replace(each, name=self.view.number(each.name, bucket), order=order)


@dataclass(frozen=True)
class Schema:
    """
    Which metrics one map yields.

    Attributes:
        name: Of the profile, or of the map.
        layout: The fields that some instrument uses.
        instruments: The metrics.
        label: From a key to attributes, in the view of all keys.
        attributes: Attributes of all its series.
        cpu: Attribute that holds the number of the CPU; None to add the CPUs up.
        series_limit: How many series there may be; the rest is aggregated into one overflow series.
        labels: Names of the attributes that *label* and *value_label* may return.
        value_label: The attributes that come from the value; None: none do.
        only_used: Whether an entry of zeros is not read: a row of an array that was never used is no series.
        distinct_keys: Whether each key is to have its own series: keys that share one differ in padding.
        notes: Choices made for the user, for the log.
        warnings: The same, of guesses that may be wrong.
        unfit: Why only some of the metrics are there that were asked for; empty if all are.
        views: Which keys the metrics are about; empty: all of them are about every key.
        kept: What was made of it and is needed again in the next window (`counts.delta`).

    """

    name: str
    layout: Layout
    instruments: tuple[Instrument, ...]
    label: Label
    attributes: Attributes = ()
    cpu: str | None = None
    series_limit: int = LARGEST_CARDINALITY
    labels: tuple[str, ...] = ()
    value_label: ValueLabel | None = None
    only_used: bool = False
    distinct_keys: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unfit: str = ""
    views: tuple[View, ...] = ()
    kept: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _columns: dict[int, tuple[Column, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _places: dict[Instrument, Places] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def needs_values(self) -> bool:
        """Whether some instrument exports what a field holds, not only what it counted."""
        return any(instrument.kind.needs_values for instrument in self.instruments)

    @cached_property
    def only_sums(self) -> bool:
        """Whether the values of several CPUs or keys are always added up."""
        return all(each.aggregate == "sum" for each in self.layout.fields)

    @cached_property
    def size(self) -> int:
        """How many points of a sum are about as large as all points of a series."""
        return sum(instrument.size for instrument in self.instruments)

    @cached_property
    def has_gauges(self) -> bool:
        """Whether some instrument is a gauge in OTLP."""
        return not all(instrument.kind.is_sum for instrument in self.instruments)

    def attributes_of(
        self, key: bytes, label: Label | None = None, labels: Mapping[bytes, Attributes] | None = None
    ) -> Attributes:
        """
        Return the attributes of a key's series, in the view of all keys unless *label* is another's.

        With an attribute for the CPU, its number ends the key. *labels* are those of the reading.
        """
        of_value = () if self.value_label is None else (labels or {}).get(key, self.value_label.of_zeros)
        return self.attributes_with(key, label or self.label, of_value)

    def attributes_with(self, key: bytes, label: Label, of_value: Attributes) -> Attributes:
        """Return the attributes of a key's series, given those that come from its value."""
        if self.cpu is None:
            return (*self.attributes, *label(key), *of_value)
        number = int.from_bytes(key[-CPU_BYTES:], sys.byteorder)
        return (*self.attributes, *label(key[:-CPU_BYTES]), *of_value, (self.cpu, number))

    def with_lost_sums(self, before: "Schema") -> "Schema":
        """
        Return the schema with the fields and the sums of *before* that it lacks.

        So the last counts of a map are reported whose successor lost fields. A gauge holds no more.
        """
        names = {each.name for each in self.numbers}
        lost = {each.name for each in before.numbers} - names
        if not lost:
            return self
        known = {each.name for each in self.layout.fields}
        gone = (each for each in before.layout.fields if each.name not in known)
        metrics = {instrument.name for instrument in self.instruments}
        sums = (
            instrument
            for instrument in before.instruments
            if lost.intersection(instrument.numbers)
            and instrument.kind.is_sum
            and instrument.name not in metrics
        )
        return replace(
            self,
            layout=replace(self.layout, fields=(*self.layout.fields, *gone)),
            instruments=(*self.instruments, *sums),
            views=_merged(self.parts, before.parts) if self.views or before.views else (),
        )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Where the numbers of each view are in a series."""
        index = {field.name: at for at, field in enumerate(self.layout.fields)}
        parts: list[Part] = []
        first = 0
        for at, view in enumerate(self.views or (View("", self.label),)):
            fields = self.layout.fields if view.fields is None else view.fields
            parts.append(Part(view, 1 << at, first, fields, tuple(index[field.name] for field in fields)))
            first += len(fields) * (view.buckets or 1)
        return tuple(parts)

    @cached_property
    def numbers(self) -> tuple[Field, ...]:
        """The numbers of a series, each like the field that it comes from."""
        if not self.views:
            return self.layout.fields
        return tuple(chain.from_iterable(part.numbers for part in self.parts))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The index of each number in a series, by its name."""
        return {number.name: at for at, number in enumerate(self.numbers)}

    @cached_property
    def positions(self) -> tuple[tuple[int, Instrument], ...]:
        """Each instrument, after the index of its number in a series; of a histogram, of its first bucket."""
        positions = tuple((self.index[each.numbers[0]], each) for each in self.instruments)
        return _shared(positions, tuple(each.encoded_attributes for each in self.instruments))

    @cached_property
    def shares_metrics(self) -> bool:
        """Whether some instruments have one metric together, distinguished by their attributes."""
        return len({each.metric for each in self.instruments}) < len(self.instruments)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The indices of the numbers that some instrument exports as they are (`Instrument.is_count`)."""
        return tuple(dict.fromkeys(at for at, instrument in self.positions if instrument.is_count))

    @cached_property
    def counted(self) -> tuple[tuple[str, int, bool, Places | None], ...]:
        """Of each sum: the name of its number, its index, whether it is signed; a histogram's places."""
        return tuple(
            (instrument.field + instrument.view, at, False, self.places(instrument))
            if instrument.histogram
            else (self.numbers[at].name, at, instrument.kind.is_signed(self.numbers[at]), None)
            for at, instrument in self.positions
            if instrument.kind.is_sum
        )

    def places(self, instrument: Instrument) -> Places:
        """Return where the numbers of a histogram are in a series."""
        if instrument not in self._places:
            histogram = instrument.histogram
            assert histogram is not None  # noqa: S101  # the caller knows its kind
            counts, sums = (
                tuple(self.index[name] for name in names) for names in (histogram.counts, histogram.sums)
            )
            self._places[instrument] = Places(counts, sums)
        return self._places[instrument]

    def applies(self, instrument: Instrument, views: int) -> bool:
        """Return whether a series that belongs to *views* (`Series.views`) has a point of an instrument."""
        return views == ALL_VIEWS or bool(views & self.bits[instrument.view])

    @cached_property
    def bits(self) -> Mapping[str, int]:
        """The bit of each view in `Series.views`, by its name."""
        return {part.view.name: part.bit for part in self.parts}

    def columns(self, slots: int) -> tuple[Column, ...]:
        """Return the columns of a reading of a map that has *slots* values for each key."""
        if slots not in self._columns:
            self._columns[slots] = tuple(self._build_columns(slots))
        return self._columns[slots]

    def _build_columns(self, slots: int) -> Iterator[Column]:
        growing = {
            name for instrument in self.instruments if instrument.kind.counts_up for name in instrument.fields
        }
        for each in self.layout.fields:
            monotonic = not each.signed and each.name in growing
            is_one = each.bits == 64 or each.aggregate != "sum"
            yield Column(each.name, each.bits, each.signed, monotonic, 1 if is_one else slots)

    def columns_in(self, views: int, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """
        Return the columns of a reading as they are for a key of some *views*: bits, as in `Series.views`.

        A row of an array may be a counter where another one is a gauge.
        """
        if len(self.parts) == 1:
            return columns
        parts = [part for part in self.parts if part.bit & views]
        names = {part.view.name for part in parts}
        growing = {
            name
            for instrument in self.instruments
            if instrument.view in names and instrument.kind.counts_up
            for name in instrument.fields
        }
        signed = {field.name for part in parts for field in part.fields if field.signed}
        return tuple(
            column._replace(
                signed=column.signed or column.field in signed,
                monotonic=column.monotonic and column.field in growing - signed,
            )
            for column in columns
        )


def _merged(parts: Sequence[Part], before: Sequence[Part]) -> tuple[View, ...]:
    """Return the views of *parts*, with those views, fields and buckets of *before* that they lack."""
    views = {part.view.name: replace(part.view, fields=part.fields) for part in parts}
    for part in before:
        view = views.setdefault(part.view.name, replace(part.view, fields=part.fields))
        fields = {field.name: field for field in (*part.fields, *(view.fields or ()))}
        views[view.name] = replace(
            view, fields=tuple(fields.values()), buckets=max(view.buckets, part.view.buckets)
        )
    return tuple(views.values())


_Positions = tuple[tuple[int, Instrument], ...]


@lru_cache(maxsize=256)
def _shared(positions: _Positions, _: tuple[bytes, ...]) -> _Positions:
    """Return equal positions as the same object, so that sources of one kind are cheaply told to be one."""
    return positions


SourceSeries = Sequence[tuple[Schema, Sequence[Series]]]
"""The series of each source, with the schema that they follow."""
