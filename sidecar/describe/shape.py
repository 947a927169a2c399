# SPDX-License-Identifier: Apache-2.0
"""What a map's key and value look like: a flat list of named parts, each with its place in bits (pure)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain

from sidecar.describe.btf import MAX_DEPTH, Btf, BtfKind, BtfMember, Type

# What one array, and all of a key or value, may hold: a map with more is no table of counters. Where all of
# it is too much, the largest arrays are not taken apart.
MAX_ELEMENTS = 1024
MAX_PARTS = 8192
_LARGEST_ARRAYS = (MAX_ELEMENTS, 128, 16, 1)

_COMPOUND = frozenset({BtfKind.STRUCT, BtfKind.UNION, BtfKind.DATASEC})
_TAGS = {BtfKind.STRUCT: "struct", BtfKind.UNION: "union", BtfKind.ENUM: "enum", BtfKind.ENUM64: "enum"}
_BIG_ENDIAN = frozenset({"__be16", "__be32", "__be64"})
_ADDRESSES = frozenset({"in_addr", "in6_addr"})
# What the kernel finds by name in a value and keeps for itself (kernel/bpf/btf.c, `field_types`).
_KERNELS_OWN = re.compile(
    "bpf_((res_)?spin_lock|timer|wq|task_work|list_head|list_node|rb_root|rb_node|refcount|dynptr)"
)


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
    """What an array holds that was not taken apart: the parts of one element, how long it is, how many."""

    parts: "tuple[Part, ...]"
    bits: int
    count: int


@dataclass(frozen=True)
class Part:
    """One leaf of a key or a value."""

    name: str
    """Dotted path, "rx.packets", "queues.3"; "key" or "value" for a bare scalar."""
    bit_offset: int
    """From the first byte, as BTF counts on this machine."""
    bits: int
    encoding: Encoding
    type: str
    """The C type, outermost typedef name first: "__u64", "__be32", "struct in6_addr", "enum xdp_action"."""
    big_endian: bool = False
    names: Mapping[int, str] = field(default_factory=dict, hash=False)
    """Of an enum: what each number is called."""
    aliases: tuple[str, ...] = ()
    """Other names of the same place with the same type (members of a union)."""
    refused: str = ""
    """Why it is not exported unless configured by name; empty: it is."""
    elements: Elements | None = field(default=None, repr=False, compare=False)
    """Of an array with too many elements: these; each can be configured by its name, `queues.70000`."""

    def inner(self, name: str) -> "Part | None":
        """Return the part within, if this is an array that was not taken apart and has one of that name."""
        index, _, rest = name.removeprefix(f"{self.name}.").partition(".")
        if (
            self.elements is None
            or not name.startswith(f"{self.name}.")
            or not re.fullmatch("[0-9]{1,10}", index)
        ):
            return None
        if int(index) >= self.elements.count:
            return None
        at = self.bit_offset + self.elements.bits * int(index)
        inside = _placed(self.elements.parts, f"{self.name}.{int(index)}", at)
        return part_called(inside, f"{self.name}.{int(index)}" + (f".{rest}" if rest else ""))


def part_called(parts: Sequence[Part], name: str) -> Part | None:
    """Return the part with a name, its own or an alias, also within an array that was not taken apart."""
    for part in parts:
        if name == part.name or name in part.aliases:
            return part
    return next((found for part in parts if (found := part.inner(name))), None)


@dataclass(frozen=True)
class Shape:
    """The parts of a map's key and value, in the order of the C declaration, and the sizes in bytes."""

    key: tuple[Part, ...]
    value: tuple[Part, ...]
    key_size: int
    value_size: int


def shape_of(btf: Btf, key_type_id: int, value_type_id: int, key_size: int, value_size: int) -> Shape:
    """
    Return the shape of a map from its BTF, `bpf_map_info.btf_key_type_id` and `btf_value_type_id`.

    A value's id of 0: the map has no BTF, do not ask. A key's id of 0 alone: global variables (`.bss`, as
    kernel/bpf/arraymap.c has it, `array_map_check_btf`): one entry, and a key without parts.

    Raises:
        ValueError: The BTF is damaged, says another size than the map, or has more parts than `MAX_PARTS`
            besides its arrays.

    """
    key = _parts(btf, key_type_id, key_size, "key") if key_type_id else ()
    return Shape(key, _parts(btf, value_type_id, value_size, "value"), key_size, value_size)


def _parts(btf: Btf, type_id: int, size: int, what: str) -> tuple[Part, ...]:
    piece = _bounded_piece(btf, type_id, in_key=what == "key")
    if piece.size != size:
        raise ValueError(f"BTF says {piece.size} bytes of the {what}, the map {size}")
    parts = piece.parts
    if btf.peel(type_id)[0].kind not in _COMPOUND or (parts and not parts[0].name):
        parts = _placed(parts, what)
    for part in parts:
        if part.bit_offset + part.bits > 8 * size:
            raise ValueError(f"BTF says {part.name} ends at bit {part.bit_offset + part.bits} of {8 * size}")
    return parts


def _bounded_piece(btf: Btf, type_id: int, *, in_key: bool) -> "_Piece":
    *tries, last = _LARGEST_ARRAYS
    for largest in tries:
        try:
            return _Walk(btf, in_key=in_key, largest=largest).piece(type_id)
        except _TooManyError:
            continue
    return _Walk(btf, in_key=in_key, largest=last).piece(type_id)


class _TooManyError(ValueError):
    """There are more parts than `MAX_PARTS`."""


@dataclass(frozen=True)
class _Piece:
    """What one type comes to: names and places are relative to it, a scalar's name is empty."""

    size: int
    parts: tuple[Part, ...]


class _Walk:
    """Flattens types, each once: what contains it moves and renames its parts."""

    def __init__(self, btf: Btf, *, in_key: bool, largest: int) -> None:
        self._btf = btf
        self._in_key = in_key
        self._largest = largest
        self._pieces: dict[int, _Piece] = {}

    def piece(self, type_id: int, depth: int = 0) -> _Piece:
        if depth > MAX_DEPTH:
            raise ValueError(f"BTF type {type_id} is nested more than {MAX_DEPTH} deep")
        if type_id not in self._pieces:
            self._pieces[type_id] = self._piece(type_id, depth)
        return self._pieces[type_id]

    def _piece(self, type_id: int, depth: int) -> _Piece:
        found, typedefs = self._btf.peel(type_id)
        if found.kind is BtfKind.ARRAY:
            return self._array(type_id, found, depth)
        if found.kind in _COMPOUND:
            return _Piece(found.size, self._compound(found, depth))
        part = self._scalar(found, self._label(type_id))
        return _Piece(found.size, (replace(part, big_endian=not _BIG_ENDIAN.isdisjoint(typedefs)),))

    def _scalar(self, found: Type, label: str) -> Part:
        bits = 8 * found.size
        if found.kind is BtfKind.INT and found.bits > 64:
            refused = f"an integer of {found.bits} bits: up to 64 can be read"
            return Part("", found.bit_offset, found.bits, Encoding.OTHER, label, refused=refused)
        if found.kind is BtfKind.INT:
            number = Encoding.SIGNED if found.signed else Encoding.UNSIGNED
            return Part("", found.bit_offset, found.bits, Encoding.BOOL if found.boolean else number, label)
        if found.kind in (BtfKind.ENUM, BtfKind.ENUM64):
            return Part("", 0, bits, Encoding.ENUM, label, names=found.names)
        if found.kind is BtfKind.PTR:
            return Part("", 0, bits, Encoding.POINTER, label, refused="a pointer")
        if found.kind is BtfKind.FLOAT:
            return Part("", 0, bits, Encoding.OTHER, label, refused="a floating-point number")
        raise ValueError(f"BTF has a {found.kind.name} where a value must be")

    def _array(self, type_id: int, array: Type, depth: int) -> _Piece:
        element = self.piece(array.target, depth + 1)
        size = element.size * array.count
        base, _ = self._btf.peel(array.target)
        label = self._label(type_id)
        if not size:
            return _Piece(0, ())
        if base.kind is BtfKind.INT and base.size == 1 and (base.char or (self._in_key and not base.boolean)):
            encoding = Encoding.STRING if base.char else Encoding.BYTES
            return _Piece(size, (Part("", 0, 8 * size, encoding, label),))
        if array.count * len(element.parts) > self._largest:
            refused = f"an array of {array.count * len(element.parts)} fields: up to {self._largest} are read"
            inside = Elements(element.parts, 8 * element.size, array.count)
            whole = Part("", 0, 8 * size, Encoding.OTHER, label, refused=refused, elements=inside)
            return _Piece(size, (whole,))
        copies = (
            _placed(element.parts, str(index), 8 * element.size * index)
            for index in range(array.count if element.parts else 0)
        )
        return _Piece(size, tuple(chain.from_iterable(_bounded(copies))))

    def _compound(self, found: Type, depth: int) -> tuple[Part, ...]:
        if found.name in _ADDRESSES:
            return (Part("", 0, 8 * found.size, Encoding.BYTES, f"struct {found.name}"),)
        if _KERNELS_OWN.fullmatch(found.name):
            refused = "kept by the kernel for itself"
            return (Part("", 0, 8 * found.size, Encoding.OTHER, f"struct {found.name}", refused=refused),)
        members = _bounded(self._member(member, depth) for member in found.members)
        if found.kind is BtfKind.UNION:
            return _union([parts for parts in members if parts])
        return tuple(chain.from_iterable(members))

    def _member(self, member: BtfMember, depth: int) -> tuple[Part, ...]:
        found, _ = self._btf.peel(member.type_id)
        if not member.name and found.kind not in _COMPOUND:
            return ()  # an unnamed bitfield is padding
        if not member.bits:
            return _placed(self.piece(member.type_id, depth + 1).parts, member.name, member.bit_offset)
        if found.kind not in (BtfKind.INT, BtfKind.ENUM, BtfKind.ENUM64) or member.bits > 8 * found.size:
            raise ValueError(f"BTF has a bitfield of {member.bits} bits, {member.name}, of another type")
        part = self._scalar(found, self._label(member.type_id))
        return (replace(part, name=member.name, bit_offset=member.bit_offset, bits=member.bits),)

    def _label(self, type_id: int) -> str:
        found, typedefs = self._btf.peel(type_id)
        dimensions = ""
        while found.kind is BtfKind.ARRAY and not typedefs:
            dimensions += f"[{found.count}]"
            found, typedefs = self._btf.peel(found.target)
        if typedefs:
            return typedefs[0] + dimensions
        if found.kind is BtfKind.PTR:
            pointee, names = self._btf.peel(found.target)
            return f"{names[0] if names else _tagged(pointee) or 'void'} *{dimensions}"
        return _tagged(found) + dimensions


def _tagged(found: Type) -> str:
    return f"{_TAGS.get(found.kind, '')} {found.name}".strip()


def _placed(parts: tuple[Part, ...], prefix: str, bits: int = 0) -> tuple[Part, ...]:
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


def _bounded(groups: Iterable[tuple[Part, ...]]) -> Iterator[tuple[Part, ...]]:
    """Pass on while there are no more than `MAX_PARTS`, aliases included, whatever the BTF claims."""
    count = 0
    for parts in groups:
        count += sum(1 + len(part.aliases) for part in parts)
        if count > MAX_PARTS:
            raise _TooManyError(f"more than {MAX_PARTS} fields")
        yield parts


def _union(members: list[tuple[Part, ...]]) -> tuple[Part, ...]:
    """Make one part of what all members have at one place with one type; refuse all of them otherwise."""
    if all(list(map(_likeness, parts)) == list(map(_likeness, members[0])) for parts in members):
        return tuple(_merged(same) for same in zip(*members, strict=True))
    names = ", ".join(parts[0].name for parts in members[:4])
    refused = f"member of a union: {names} lie in one place"
    return tuple(replace(part, refused=part.refused or refused) for parts in members for part in parts)


def _likeness(part: Part) -> tuple[object, ...]:
    """Return what parts have in common that may count as one; of numbers, the type's name is no matter."""
    number = part.encoding in (Encoding.UNSIGNED, Encoding.SIGNED, Encoding.BOOL, Encoding.ENUM)
    kind = part.names if number else part.type
    return part.bit_offset, part.bits, part.encoding, part.big_endian, part.refused, kind


def _merged(same: tuple[Part, ...]) -> Part:
    first, *others = same
    aliases = [alias for part in others for alias in (part.name, *part.aliases)]
    return replace(first, aliases=(*first.aliases, *aliases))
