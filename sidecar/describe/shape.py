# SPDX-License-Identifier: Apache-2.0
"""What a map's key and value look like: flat lists of named parts, each at its bit offset (pure)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise


class Encoding(Enum):
    """How the bits of a part are read."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    BOOL = "bool"
    ENUM = "enum"
    STRING = "string"
    BYTES = "bytes"
    POINTER = "pointer"
    OTHER = "other"


@dataclass(frozen=True)
class Elements:
    """The elements of an array that was not expanded: the parts of one, its size in bits, their number."""

    parts: "tuple[Part, ...]"
    bits: int
    count: int


@dataclass(frozen=True)
class Part:
    """One leaf of a key or a value."""

    name: str
    """Dotted path, "rx.packets", "queues.3"; "key" or "value" for a bare scalar."""
    bit_offset: int
    """From the first byte, counted as BTF counts on this machine."""
    bits: int
    encoding: Encoding
    type: str
    """The C type, outermost typedef name first: "__u64", "__be32", "struct in6_addr", "enum xdp_action"."""
    big_endian: bool = False
    names: Mapping[int, str] = field(default_factory=dict, hash=False)
    """The enumerators of an enum by number."""
    aliases: tuple[str, ...] = ()
    """Other names of the same bits with the same type (members of a union)."""
    refused: str = ""
    """Why it is exported only if configured by name; empty if it is exported by default."""
    in_prefix: bool = False
    """Whether it is part of a trie's prefix: its bits beyond the key's prefix length are wildcards."""
    elements: Elements | None = field(default=None, repr=False, compare=False)
    """Set for an array with too many elements to expand; each can be configured by name, `queues.70000`."""

    def element(self, name: str) -> "Part | None":
        """Return the part *name* within this array, if it was not expanded and has such an element."""
        index, _, rest = name.removeprefix(f"{self.name}.").partition(".")
        if (
            self.elements is None
            or not name.startswith(f"{self.name}.")
            or not re.fullmatch("[0-9]{1,10}", index)
            or int(index) >= self.elements.count
        ):
            return None
        path = f"{self.name}.{int(index)}"
        inside = nested(self.elements.parts, path, self.bit_offset + self.elements.bits * int(index))
        return part_called(inside, f"{path}.{rest}" if rest else path)


@dataclass(frozen=True)
class Shape:
    """The parts of a map's key and value, in the order of the C declaration, and the sizes in bytes."""

    key: tuple[Part, ...]
    value: tuple[Part, ...]
    key_size: int
    value_size: int


ARRAY_INDEX = Part("key", 0, 32, Encoding.UNSIGNED, "__u32")
"""The key of every array."""


def part_called(parts: Sequence[Part], name: str) -> Part | None:
    """Return the part with this name or alias, or such an element of an array that was not expanded."""
    for part in parts:
        if name == part.name or name in part.aliases:
            return part
    return next((element for part in parts if (element := part.element(name))), None)


def enclosing(name: str) -> Iterator[str]:
    """Yield a dotted name, and those of the arrays and structs around it."""
    words = name.split(".")
    return (".".join(words[:end]) for end in range(len(words), 0, -1))


def joined_part(parts: Sequence[Part], name: str) -> Part | None:
    """
    Return the bytes of the array or struct *name*, whose members are parts: `__be32 saddr[4]` as 16 bytes.

    None if a part has this name, or its members are not adjacent whole bytes.
    """
    if any(name in (part.name, *part.aliases) for part in parts):
        return None
    inside = [
        part for part in parts if any(each.startswith(f"{name}.") for each in (part.name, *part.aliases))
    ]
    inside.sort(key=lambda part: part.bit_offset)
    for part, after in pairwise(inside):
        if part.bit_offset + part.bits != after.bit_offset:
            return None
    if not inside or any(part.bits % 8 or part.bit_offset % 8 for part in inside):
        return None
    first, bits = inside[0], sum(part.bits for part in inside)
    return Part(
        name,
        first.bit_offset,
        bits,
        Encoding.BYTES,
        f"{first.type}[{len(inside)}]",
        in_prefix=first.in_prefix,
    )


def covering_parts(parts: Iterable[Part]) -> list[Part]:
    """
    Return the parts that together distinguish any two keys, in the order of their offsets.

    Which member of a union is valid is unknown if they differ in type: the widest stands for all of them.
    """
    chosen: list[Part] = []
    for part in sorted(parts, key=lambda part: (bool(part.refused), -part.bits)):
        if not part.refused or not any(_overlap(part, other) for other in chosen):
            chosen.append(part)
    return sorted(chosen, key=lambda part: part.bit_offset)


def distinguishing_parts(parts: Iterable[Part]) -> list[Part]:
    """Return the parts that become attributes by default; the length of a prefix is shown with the prefix."""
    covering = covering_parts(parts)
    return [part for part in covering if part.in_prefix] or covering


def _overlap(first: Part, second: Part) -> bool:
    return (
        first.bit_offset < second.bit_offset + second.bits
        and second.bit_offset < first.bit_offset + first.bits
    )


def nested(parts: Iterable[Part], prefix: str, bits: int = 0) -> tuple[Part, ...]:
    """Return the parts of a member or an element: names under *prefix*, *bits* further along."""
    return tuple(
        replace(
            part,
            name=_join(prefix, part.name),
            bit_offset=part.bit_offset + bits,
            aliases=tuple(_join(prefix, alias) for alias in part.aliases),
        )
        for part in parts
    )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
