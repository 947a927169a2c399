# SPDX-License-Identifier: Apache-2.0
"""
What the user asks for, before any map is opened: which maps to read and which metrics they yield.

All values are frozen. `at` is the `file:line` of an entry, empty if no file has it; comparisons ignore it.
"""

import dataclasses
import re
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.describe.globs import is_glob
from sidecar.kernel import interface
from sidecar.kernel.interface import Counted, Direction, part_of
from sidecar.kinds import Kind
from sidecar.model import Aggregate, Attributes
from sidecar.scale import Scale
from sidecar.schema import LARGEST_CARDINALITY

MapRefKind = Literal["interface", "attached", "inner", "pin", "name", "id"]
RowsShown = Literal["used", "all"]

METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
"""OpenTelemetry specification, `metrics/api.md`, "Instrument name syntax"."""


@dataclass(frozen=True)
class MapRef:
    """
    How a source refers to its map.

    Attributes:
        kind: Which way: `interface` is the shipped program's map, `attached` the map of another program,
            `inner` a map inside another one.
        value: The interface's name, the pin's path, the map's name, or its id in decimal; or a pattern.
            Of an inner map, the key of the outer map in hex.
        netns: Network namespace of an interface: a name, a path, or None for the sidecar's own.
        direction: Which packets of an interface.
        index: As in `Interface`.
        map: The name of the map of a program on an interface.
        outer: Where the outer map of an inner map is.
        is_member: Whether it is one of those that a pattern stands for, whatever its own characters.
        counted: Which map of an interface.

    """

    kind: MapRefKind
    value: str
    netns: str | None = None
    direction: Direction = "receive"
    index: int = 0
    map: str = ""
    outer: "MapRef | None" = None
    is_member: bool = False
    counted: Counted = "packets"

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for any number of maps, which come and go (`sources.pattern`)."""
        if self.kind in ("pin", "name"):
            return not self.is_member and is_glob(self.value)
        return self.kind == "interface" and not self.index and interface.is_pattern(self.value)

    def __str__(self) -> str:
        """Return `pin:/sys/fs/bpf/flows`, `interface:eth0/transmit@blue`, `interface:eth0,map:flows`."""
        if self.kind == "inner":
            return f"{self.outer}[{self.value}]"
        if self.kind == "attached":
            return f"interface:{self.value},map:{self.map}" + (f"@{self.netns}" if self.netns else "")
        part = part_of(self.direction, self.counted)
        return f"{self.kind}:{self.value}{part}" + (f"@{self.netns}" if self.netns else "")


@dataclass(frozen=True)
class KeySpec:
    """
    One part of a map's key that becomes an attribute.

    Attributes:
        field: The part's dotted name; `key` for a bare integer.
        attribute: The attribute's name.
        decoder: A name of `decoders.DECODERS`; empty: the default for the part's type.
        table: Number to text, for the decoder `table`.
        regexp: A regular expression and what replaces its matches in the decoded text; None: it stays.
        at: `file:line`.

    """

    field: str
    attribute: str
    decoder: str = ""
    table: tuple[tuple[int, str], ...] = ()
    regexp: tuple[str, str] | None = None
    at: str = dataclasses.field(default="", compare=False)


Wanted = tuple["str | int | bool", ...]
"""The values of which a part of the key is to have one: numbers, names of an enum, decoded text."""


@dataclass(frozen=True)
class BucketsSpec:
    """
    The buckets of a histogram.

    Attributes:
        form: `log2`: bucket i counts from 2^i to 2^(i+1)-1. `exp2`: above 2^(i-1) up to 2^i. With `_zero`,
            bucket 0 counts zeros and the others follow. `linear`: each counts *width* numbers, the first from
            *start*. `bounds`: up to each of *bounds*.
        start: The least number that the first linear bucket counts.
        width: How many numbers a linear bucket counts.
        bounds: Inclusive upper bounds, in ascending order; the bucket after the last has none.

    """

    form: Literal["log2", "log2_zero", "exp2", "exp2_zero", "linear", "bounds"]
    start: int = 0
    width: int = 1
    bounds: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return `log2`, `linear`."""
        return self.form


@dataclass(frozen=True)
class MetricSpec:
    """
    One metric of one field of a map's value.

    Attributes:
        name: OpenTelemetry name.
        field: The field's dotted name; `value` for a bare integer; `*` stands for an index of an array. Of a
            histogram it may be an array.
        unit: UCUM.
        description: One sentence.
        kind: Which kind of metric the field yields.
        attributes: Attributes of each of its data points.
        aggregate: How a gauge combines CPUs, and keys that share a series; None: as its name tells.
        by: For the aggregate `last`, the field that is greatest where its value is taken.
        index: The attribute of each `*`, whose `field` means nothing; empty: the arrays' names.
        row: The only key that it is about, which is no attribute then: a number or the name of an enum.
        where: The parts of the key that choose which keys it is about, each with the wanted values.
        scale: From the field's unit to the metric's.
        buckets: The buckets of a histogram.
        bucket: The part of the key that is the number of the bucket; empty: the field is an array.
        slots: How many buckets the key tells apart; 0: as many as *sum* and *buckets* say.
        sum: What holds the sum: a field, or the number of a bucket; None: nothing does.
        at: `file:line`.

    """

    name: str
    field: str
    unit: str = ""
    description: str = ""
    kind: Kind = Kind.COUNTER
    attributes: Attributes = ()
    aggregate: Aggregate | None = None
    by: str = ""
    index: tuple[KeySpec, ...] = ()
    row: str | int | None = None
    where: tuple[tuple[str, Wanted], ...] = ()
    scale: Scale | None = None
    buckets: BucketsSpec | None = None
    bucket: str = ""
    slots: int = 0
    sum: str | int | None = None
    at: str = dataclasses.field(default="", compare=False)


def view_name(metric: MetricSpec) -> str:
    """
    Return the name of the view that a metric is about: `@0`, `@proto=6|17`, `@slot`.

    It is empty for the view of all keys of the source.
    """
    names = [] if metric.row is None else [str(metric.row)]
    names += [f"{field}={'|'.join(map(str, wanted))}" for field, wanted in metric.where]
    names += [metric.bucket] if metric.bucket else []
    return "".join(f"@{name}" for name in names)


@dataclass(frozen=True)
class Member:
    """
    One member of a struct in a written layout.

    Attributes:
        name: Its name.
        type: `u32`, `be16`, `char` and so on; empty for a struct.
        dims: Dimensions of an array, the outermost first; empty if it is not an array.
        offset: Bytes from the start of the enclosing struct; None: aligned as in C.
        members: The members of a struct.
        at: `file:line`.

    """

    name: str
    type: str = ""
    dims: tuple[int, ...] = ()
    offset: int | None = None
    members: "tuple[Member, ...]" = ()
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class LayoutSpec:
    """
    The key and the value of a map as the user writes them, for a map without BTF.

    Attributes:
        value: Members of the value; a single one named `value` if it is a bare integer.
        key: Members of the key, likewise; None if the layout leaves the key out.
        packed: Whether there is no padding, as with `__attribute__((packed))`.
        at: `file:line`.

    """

    value: tuple[Member, ...]
    key: tuple[Member, ...] | None = None
    packed: bool = False
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class OuterSpec:
    """
    The key of a map of maps as the user describes it.

    Attributes:
        layout: Its members, as in a layout; None: it is a number, or bytes.
        key: Its parts that become attributes; None: all of them.
        at: `file:line`.

    """

    layout: tuple[Member, ...] | None = None
    key: tuple[KeySpec, ...] | None = None
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class MatchSpec:
    """
    Which maps a built-in profile applies to by default, provided that they have exactly its fields.

    Attributes:
        types: Map types, `PERCPU_ARRAY`; empty: any.
        name: The map's name; empty: any.
        name_if_btf_is_hidden: The name of a map whose fields cannot be compared; empty: *name*.
        max_entries: The map's size in entries; 0: any.

    """

    types: tuple[str, ...] = ()
    name: str = ""
    name_if_btf_is_hidden: str = ""
    max_entries: int = 0


@dataclass(frozen=True)
class ProfileSpec:
    """
    Which metrics the maps of one layout yield; what is None is left open.

    Attributes:
        name: `packet-counter`, or the file's name.
        match: The maps that it applies to by default; None: none.
        layout: The key and the value, for a map without BTF.
        cpu: Attribute with the CPU's number; None: the CPUs are summed.
        rows: Of an array: `used`, or `all` for a series of zeros for each row that was never used.
        key: The parts of the key that become attributes; None: all of them, empty: none.
        labels: The parts of the value that become attributes; None: none.
        metrics: The metrics; None: one for each integer field.
        at: The file.

    """

    name: str
    match: MatchSpec | None = None
    layout: LayoutSpec | None = None
    cpu: str | None = None
    rows: RowsShown | None = None
    key: tuple[KeySpec, ...] | None = None
    labels: tuple[KeySpec, ...] | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class SourceSpec:
    """
    One source: which map, and which metrics it yields. Its own settings take precedence over its profile's.

    Attributes:
        map_ref: Which map.
        profile: The profile; None: the built-in profile that matches, if any.
        attributes: Attributes of each data point of the source.
        series_limit: Most series; the rest is aggregated into one overflow series.
        cpu: As in a profile.
        rows: As in a profile.
        layout: The key and the value; takes precedence over BTF.
        key: As in a profile.
        labels: As in a profile.
        metrics: As in a profile.
        where: As in a metric, for all metrics.
        outer: The key of the map that holds the maps; None: nothing is written of it.
        exclude: Shell patterns of what a pattern leaves out.
        apart: Whether its series carry `xdp.source`, as nothing else distinguishes the members of a pattern.
        at: `file:line`; empty if the source comes from a flag.

    """

    map_ref: MapRef
    profile: ProfileSpec | None = None
    attributes: Attributes = ()
    series_limit: int = LARGEST_CARDINALITY
    cpu: str | None = None
    rows: RowsShown | None = None
    layout: LayoutSpec | None = None
    key: tuple[KeySpec, ...] | None = None
    labels: tuple[KeySpec, ...] | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    where: tuple[tuple[str, Wanted], ...] = ()
    outer: OuterSpec | None = None
    exclude: tuple[str, ...] = ()
    apart: bool = False
    at: str = dataclasses.field(default="", compare=False)

    def with_profile(self, profile: ProfileSpec | None) -> "SourceSpec":
        """Return the same source with what it leaves open taken from *profile*."""
        if profile is None:
            return self
        return replace(
            self,
            profile=profile,
            cpu=self.cpu or profile.cpu,
            rows=self.rows or profile.rows,
            layout=self.layout or profile.layout,
            key=profile.key if self.key is None else self.key,
            labels=profile.labels if self.labels is None else self.labels,
            metrics=self.metrics or profile.metrics,
        )
