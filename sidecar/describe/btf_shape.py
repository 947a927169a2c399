# SPDX-License-Identifier: Apache-2.0
"""From BTF to the shape of a map (pure)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from sidecar.describe.btf import MAX_DEPTH, Btf, BtfKind, BtfMember, Type
from sidecar.describe.shape import Elements, Encoding, Part, Shape, nested

# The limits on the fields of one array, and of a whole key or value with its arrays: a map with more is not a
# table of counters. If the whole exceeds its limit, the largest arrays are left unexpanded, in the end all.
MAX_ELEMENTS = 1024
MAX_PARTS = 8192
_LARGEST_ARRAYS = (MAX_ELEMENTS, 128, 16)
# Without arrays, so that no BTF can claim more than can be held.
MAX_MEMBERS = 65_536

_COMPOUND = frozenset({BtfKind.STRUCT, BtfKind.UNION, BtfKind.DATASEC})
_TAGS = {BtfKind.STRUCT: "struct", BtfKind.UNION: "union", BtfKind.ENUM: "enum", BtfKind.ENUM64: "enum"}
_BIG_ENDIAN = frozenset({"__be16", "__be32", "__be64"})
_ADDRESSES = frozenset({"in_addr", "in6_addr"})
_NUMBERS = frozenset({Encoding.UNSIGNED, Encoding.SIGNED, Encoding.BOOL, Encoding.ENUM})
# What the kernel finds by name in a value and hides from user space (kernel/bpf/btf.c, `field_types`).
_KERNEL_PRIVATE = re.compile(
    "bpf_((res_)?spin_lock|timer|wq|task_work|list_head|list_node|rb_root|rb_node|refcount|dynptr)"
)


def shape_of(btf: Btf, key_type_id: int, value_type_id: int, key_size: int, value_size: int) -> Shape:
    """
    Return the shape of a map from its BTF.

    Args:
        btf: The map's BTF.
        key_type_id: `bpf_map_info.btf_key_type_id`. 0 for global variables (`.bss`: kernel/bpf/arraymap.c,
            `array_map_check_btf`), which have one entry and a key without parts.
        value_type_id: `bpf_map_info.btf_value_type_id`, not 0.
        key_size: Bytes of a key.
        value_size: Bytes of a value.

    Raises:
        ValueError: The BTF is damaged, disagrees with the sizes, or has more than `MAX_MEMBERS` members.

    """
    key = _parts(btf, key_type_id, key_size, "key") if key_type_id else ()
    return Shape(key, _parts(btf, value_type_id, value_size, "value"), key_size, value_size)


def _parts(btf: Btf, type_id: int, size: int, what: str) -> tuple[Part, ...]:
    flat = _flattened(btf, type_id, in_key=what == "key")
    if flat.size != size:
        raise ValueError(f"BTF says {flat.size} bytes of the {what}, the map {size}")
    parts = flat.parts
    if btf.peel(type_id)[0].kind not in _COMPOUND or (parts and not parts[0].name):
        parts = nested(parts, what)
    for part in parts:
        if part.bit_offset + part.bits > 8 * size:
            raise ValueError(f"BTF says {part.name} ends at bit {part.bit_offset + part.bits} of {8 * size}")
    return parts


def _flattened(btf: Btf, type_id: int, *, in_key: bool) -> "_Flat":
    for largest in _LARGEST_ARRAYS:
        try:
            return _Flattener(btf, in_key=in_key, largest=largest, most=MAX_PARTS).flatten(type_id)
        except _TooManyPartsError:
            continue
    return _Flattener(btf, in_key=in_key, largest=1, most=MAX_MEMBERS).flatten(type_id)


class _TooManyPartsError(ValueError):
    """There are more parts than allowed."""


@dataclass(frozen=True)
class _Flat:
    """The parts of one type, named and placed relative to it, and its size in bytes; a scalar has no name."""

    size: int
    parts: tuple[Part, ...]


class _Flattener:
    """Flattens each type once; the types around it move and rename its parts."""

    def __init__(self, btf: Btf, *, in_key: bool, largest: int, most: int) -> None:
        self._btf = btf
        self._in_key = in_key
        self._largest = largest
        self._most = most
        self._flat: dict[int, _Flat] = {}

    def flatten(self, type_id: int, depth: int = 0) -> _Flat:
        if depth > MAX_DEPTH:
            raise ValueError(f"BTF type {type_id} is nested more than {MAX_DEPTH} deep")
        if type_id not in self._flat:
            self._flat[type_id] = self._flatten(type_id, depth)
        return self._flat[type_id]

    def _flatten(self, type_id: int, depth: int) -> _Flat:
        base, typedefs = self._btf.peel(type_id)
        if base.kind is BtfKind.ARRAY:
            return self._array(type_id, base, depth)
        if base.kind in _COMPOUND:
            return _Flat(base.size, self._compound(base, depth))
        part = self._scalar(base, self._c_type(type_id))
        return _Flat(base.size, (replace(part, big_endian=not _BIG_ENDIAN.isdisjoint(typedefs)),))

    def _scalar(self, base: Type, c_type: str) -> Part:
        bits = 8 * base.size
        if base.kind is BtfKind.INT and base.bits > 64:
            refused = f"an integer of {base.bits} bits: up to 64 can be read"
            return Part("", base.bit_offset, base.bits, Encoding.OTHER, c_type, refused=refused)
        if base.kind is BtfKind.INT:
            number = Encoding.SIGNED if base.signed else Encoding.UNSIGNED
            return Part("", base.bit_offset, base.bits, Encoding.BOOL if base.boolean else number, c_type)
        if base.kind in (BtfKind.ENUM, BtfKind.ENUM64):
            return Part("", 0, bits, Encoding.ENUM, c_type, names=base.names)
        if base.kind is BtfKind.PTR:
            return Part("", 0, bits, Encoding.POINTER, c_type, refused="a pointer")
        if base.kind is BtfKind.FLOAT:
            return Part("", 0, bits, Encoding.OTHER, c_type, refused="a floating-point number")
        raise ValueError(f"BTF has a {base.kind.name} where a value must be")

    def _array(self, type_id: int, array: Type, depth: int) -> _Flat:
        element = self.flatten(array.target, depth + 1)
        size = element.size * array.count
        base, _ = self._btf.peel(array.target)
        c_type = self._c_type(type_id)
        if not size:
            return _Flat(0, ())
        if base.kind is BtfKind.INT and base.size == 1 and (base.char or (self._in_key and not base.boolean)):
            encoding = Encoding.STRING if base.char else Encoding.BYTES
            return _Flat(size, (Part("", 0, 8 * size, encoding, c_type),))
        if array.count * len(element.parts) > self._largest:
            refused = f"an array of {array.count * len(element.parts)} fields: up to {self._largest} are read"
            elements = Elements(element.parts, 8 * element.size, array.count)
            whole = Part("", 0, 8 * size, Encoding.OTHER, c_type, refused=refused, elements=elements)
            return _Flat(size, (whole,))
        expanded = (
            nested(element.parts, str(index), 8 * element.size * index)
            for index in range(array.count if element.parts else 0)
        )
        return _Flat(size, tuple(chain.from_iterable(_bounded(expanded, self._most))))

    def _compound(self, base: Type, depth: int) -> tuple[Part, ...]:
        if base.name in _ADDRESSES:
            return (Part("", 0, 8 * base.size, Encoding.BYTES, f"struct {base.name}"),)
        if _KERNEL_PRIVATE.fullmatch(base.name):
            refused = "private to the kernel"
            return (Part("", 0, 8 * base.size, Encoding.OTHER, f"struct {base.name}", refused=refused),)
        members = _bounded((self._member(member, depth) for member in base.members), self._most)
        if base.kind is BtfKind.UNION:
            return _union([parts for parts in members if parts])
        return tuple(chain.from_iterable(members))

    def _member(self, member: BtfMember, depth: int) -> tuple[Part, ...]:
        base, _ = self._btf.peel(member.type_id)
        if not member.name and base.kind not in _COMPOUND:
            return ()  # an unnamed bit-field is padding
        if not member.bits:
            return nested(self.flatten(member.type_id, depth + 1).parts, member.name, member.bit_offset)
        if base.kind not in (BtfKind.INT, BtfKind.ENUM, BtfKind.ENUM64) or member.bits > 8 * base.size:
            raise ValueError(f"BTF has a bit-field of {member.bits} bits, {member.name}, of another type")
        part = self._scalar(base, self._c_type(member.type_id))
        return (replace(part, name=member.name, bit_offset=member.bit_offset, bits=member.bits),)

    def _c_type(self, type_id: int) -> str:
        base, typedefs = self._btf.peel(type_id)
        dimensions = ""
        while base.kind is BtfKind.ARRAY and not typedefs:
            dimensions += f"[{base.count}]"
            base, typedefs = self._btf.peel(base.target)
        if typedefs:
            return typedefs[0] + dimensions
        if base.kind is BtfKind.PTR:
            pointee, names = self._btf.peel(base.target)
            return f"{names[0] if names else _tagged(pointee) or 'void'} *{dimensions}"
        return _tagged(base) + dimensions


def _tagged(base: Type) -> str:
    return f"{_TAGS.get(base.kind, '')} {base.name}".strip()


def _bounded(groups: Iterable[tuple[Part, ...]], most: int) -> Iterator[tuple[Part, ...]]:
    """Yield the groups until they exceed *most* parts, aliases included, whatever the BTF claims."""
    count = 0
    for parts in groups:
        count += sum(1 + len(part.aliases) for part in parts)
        if count > most:
            raise _TooManyPartsError(f"more than {most:,} fields")
        yield parts


def _union(members: list[tuple[Part, ...]]) -> tuple[Part, ...]:
    """Merge the members if all have the same parts at the same offsets; otherwise refuse all their parts."""
    if all(list(map(_layout_of, parts)) == list(map(_layout_of, members[0])) for parts in members):
        return tuple(_merged(same) for same in zip(*members, strict=True))
    names = ", ".join(parts[0].name for parts in members[:4])
    refused = f"member of a union: {names} share the same bytes"
    return tuple(replace(part, refused=part.refused or refused) for parts in members for part in parts)


def _layout_of(part: Part) -> tuple[object, ...]:
    """Return what members of a union must share to be merged; of a number, the type's name is irrelevant."""
    kind = part.names if part.encoding in _NUMBERS else part.type
    return part.bit_offset, part.bits, part.encoding, part.big_endian, part.refused, kind


def _merged(same: tuple[Part, ...]) -> Part:
    first, *others = same
    aliases = [alias for part in others for alias in (part.name, *part.aliases)]
    return replace(first, aliases=(*first.aliases, *aliases))
