# SPDX-License-Identifier: Apache-2.0
"""What the user says should be read and made of it, before any map was looked at (frozen values)."""

import dataclasses
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.kinds import Kind
from sidecar.model import Attributes
from sidecar.schema import LARGEST_CARDINALITY

PlaceKind = Literal["interface", "pin", "name", "id"]


@dataclass(frozen=True)
class Place:
    """
    Where a map is found.

    Attributes:
        kind: By what it is found.
        value: The interface's name, the pin's path, the map's name, or its id in decimal.
        netns: Network namespace of an interface: a name, a path, or None for our own.

    """

    kind: PlaceKind
    value: str
    netns: str | None = None

    def __str__(self) -> str:
        """Return `pin:/sys/fs/bpf/flows`, `interface:eth0`, `interface:eth0@blue`."""
        return f"{self.kind}:{self.value}" + (f"@{self.netns}" if self.netns else "")


@dataclass(frozen=True)
class KeySpec:
    """
    One part of a map's key that becomes an attribute.

    Attributes:
        field: The part's dotted name; `key` for a bare integer.
        attribute: The attribute's name.
        decoder: How its bytes are said; empty: as its type suggests.
        table: Number → text, of the decoder `table`.
        at: `file:line` that says so; empty if no file does.

    """

    field: str
    attribute: str
    decoder: str = ""
    table: tuple[tuple[int, str], ...] = ()
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class MetricSpec:
    """
    One metric that is made of one field of a map's value.

    Attributes:
        name: OpenTelemetry name.
        field: The field's dotted name; `value` for a bare integer.
        unit: UCUM.
        description: One sentence.
        kind: What is made of the field.
        attributes: On each of its points.
        at: `file:line` that says so; empty if no file does.

    """

    name: str
    field: str
    unit: str = ""
    description: str = ""
    kind: Kind = Kind.COUNTER
    attributes: Attributes = ()
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class Member:
    """
    One member of a struct that the user describes.

    Attributes:
        name: Its name.
        type: `u32`, `be16`, `char` and so on; empty for a struct.
        count: Elements of an array, or 0 if it is none.
        offset: Bytes from the start of the struct around it; None: as C aligns it.
        members: Members of the struct that it is, if it is one.
        at: `file:line` that says so.

    """

    name: str
    type: str = ""
    count: int = 0
    offset: int | None = None
    members: "tuple[Member, ...]" = ()
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class LayoutSpec:
    """
    The key and the value of a map that has no BTF.

    Attributes:
        value: Members of the value; one with the name `value` if it is a bare integer.
        key: Members of the key, likewise; None: not said.
        packed: No padding, as with `__attribute__((packed))`.
        at: `file:line` that says so.

    """

    value: tuple[Member, ...]
    key: tuple[Member, ...] | None = None
    packed: bool = False
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class MatchSpec:
    """
    Which maps a built-in profile is made for, besides having exactly its fields.

    Attributes:
        types: Kinds of map, `PERCPU_ARRAY`; empty: any.
        name: The map's name; empty: any.
        name_if_btf_is_hidden: The name of a map whose fields cannot be compared; empty: *name*.
        max_entries: 0: any.

    """

    types: tuple[str, ...] = ()
    name: str = ""
    name_if_btf_is_hidden: str = ""
    max_entries: int = 0


@dataclass(frozen=True)
class ProfileSpec:
    """
    Which metrics are made of a map of one layout; what is None is not said.

    Attributes:
        name: `packet-counter`, or the file's name.
        match: Maps that it is taken for without being asked; None: none.
        layout: How the map looks, for one without BTF.
        cpu: Attribute with the CPU's number, instead of the sum over CPUs.
        key: Which parts of the key become attributes; None: all, empty: none.
        metrics: None: one for each integer field.
        at: The file.

    """

    name: str
    match: MatchSpec | None = None
    layout: LayoutSpec | None = None
    cpu: str | None = None
    key: tuple[KeySpec, ...] | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    at: str = dataclasses.field(default="", compare=False)


@dataclass(frozen=True)
class SourceSpec:
    """
    One source: where its map is, and what is made of it. What it says itself goes before its profile.

    Attributes:
        place: Where the map is.
        profile: What is made of it, unless said here; None: the built-in profile that fits, if any.
        attributes: On each point of the source.
        series_limit: Most series; what is beyond goes to one.
        cpu: As in a profile.
        layout: How the map looks; this goes before its BTF.
        key: As in a profile.
        metrics: As in a profile.
        at: `file:line` that says so; empty if a flag does.

    """

    place: Place
    profile: ProfileSpec | None = None
    attributes: Attributes = ()
    series_limit: int = LARGEST_CARDINALITY
    cpu: str | None = None
    layout: LayoutSpec | None = None
    key: tuple[KeySpec, ...] | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    at: str = dataclasses.field(default="", compare=False)

    def with_profile(self, profile: ProfileSpec | None) -> "SourceSpec":
        """Return the same source with all that *profile* says and it does not say itself."""
        if profile is None:
            return self
        return replace(
            self,
            profile=profile,
            cpu=self.cpu or profile.cpu,
            layout=self.layout or profile.layout,
            key=profile.key if self.key is None else self.key,
            metrics=self.metrics or profile.metrics,
        )
