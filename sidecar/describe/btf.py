# SPDX-License-Identifier: Apache-2.0
"""
BTF, the kernel's type information, decoded from the raw blob (pure).

Documentation/bpf/btf.rst: a header, then the types, numbered from 1 in the order of the blob, then the names.
Opening a blob only indexes its types; each is decoded on first use.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

_MAGIC = 0xEB9F
_VERSION = 1
_HEADER = struct.Struct("=HBBIIIII")
_TYPE = struct.Struct("=III")
_WORD = struct.Struct("=I")
_POINTER_SIZE = 8  # BPF is a 64-bit machine, whatever the host is
# kernel/bpf/btf.c, MAX_RESOLVE_DEPTH.
MAX_DEPTH = 32


class BtfKind(IntEnum):
    """`BTF_KIND_*`; VOID is type 0, which is in no blob."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_MODIFIERS = frozenset({BtfKind.TYPEDEF, BtfKind.VOLATILE, BtfKind.CONST, BtfKind.RESTRICT, BtfKind.TYPE_TAG})
# Bytes that follow a `struct btf_type`: a fixed number, and a number for each of its `vlen` items.
_TAIL = {BtfKind.INT: 4, BtfKind.ARRAY: 12, BtfKind.VAR: 4, BtfKind.DECL_TAG: 4}
_ITEM = {
    BtfKind.STRUCT: 12,
    BtfKind.UNION: 12,
    BtfKind.ENUM: 8,
    BtfKind.FUNC_PROTO: 8,
    BtfKind.DATASEC: 12,
    BtfKind.ENUM64: 12,
}
_SIGNED, _CHAR, _BOOL = 1, 2, 4


@dataclass(frozen=True)
class BtfMember:
    """A member of a struct or union, or a variable of a section."""

    name: str
    type_id: int
    bit_offset: int
    bits: int = 0
    """Width of a bit-field; 0: the type's own."""


@dataclass(frozen=True)
class Type:
    """One type; fields that its kind does not have are zero or empty."""

    kind: BtfKind
    name: str = ""
    size: int = 0
    """In bytes; of INT, PTR, STRUCT, UNION, ENUM, ENUM64, FLOAT and DATASEC."""
    target: int = 0
    """Type id of what a reference refers to, or of an array's element."""
    count: int = 0
    """Elements of an array."""
    members: tuple[BtfMember, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict, hash=False)
    """The enumerators of an enum by number; the first where a number has several."""
    signed: bool = False
    char: bool = False
    boolean: bool = False
    bit_offset: int = 0
    """Of an INT, with `bits`: its place in its bytes. Compilers before 2018 described bit-fields so."""
    bits: int = 0


class Btf:
    """
    The types of one BTF blob.

    Raises:
        ValueError: The blob is damaged, of the other byte order, or has a type of an unknown kind.

    """

    def __init__(self, blob: bytes) -> None:
        if len(blob) < _HEADER.size:
            raise ValueError(f"BTF ends within its header: {len(blob)} bytes")
        magic, version, _, header_length, *sections = _HEADER.unpack_from(blob)
        if magic == int.from_bytes(_MAGIC.to_bytes(2, "big"), "little"):
            raise ValueError("BTF of the other byte order")
        if magic != _MAGIC or version != _VERSION:
            raise ValueError(f"not BTF version {_VERSION}: magic {magic:#06x}, version {version}")
        # Newer kernels have a longer header, which describes the kinds; all of them are known here.
        if header_length < _HEADER.size:
            raise ValueError(f"BTF header of {header_length} bytes")
        self._data = _section(blob, "types", header_length + sections[0], sections[1])
        self._strings = _section(blob, "names", header_length + sections[2], sections[3])
        self._offsets = self._index()
        self._types: dict[int, Type] = {0: Type(BtfKind.VOID, "void")}

    def __len__(self) -> int:
        """Return the number of types, without void."""
        return len(self._offsets)

    def _index(self) -> list[int]:
        offsets: list[int] = []
        at = 0
        while at < len(self._data):
            _, info, _ = self._unpack(_TYPE, at)
            kind = (info >> 24) & 0x1F
            if kind == BtfKind.VOID or kind > max(BtfKind):
                raise ValueError(f"BTF type {len(offsets) + 1} is of the unknown kind {kind}")
            offsets.append(at)
            at += _TYPE.size + _TAIL.get(BtfKind(kind), 0) + _ITEM.get(BtfKind(kind), 0) * (info & 0xFFFFFF)
        if at > len(self._data):
            raise ValueError("BTF ends within its last type")
        return offsets

    def _unpack(self, layout: struct.Struct, at: int) -> tuple[int, ...]:
        try:
            return layout.unpack_from(self._data, at)
        except struct.error:
            raise ValueError(f"BTF types end within a record at byte {at}") from None

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if end < 0:
            raise ValueError(f"BTF name at {offset} is outside the names")
        return self._strings[offset:end].decode(errors="replace")

    def named(self, kind: BtfKind, name: str) -> Iterator[int]:
        """Yield the ids of the types of this kind and name, without decoding others."""
        for type_id, at in enumerate(self._offsets, start=1):
            name_offset, info, _ = self._unpack(_TYPE, at)
            if (info >> 24) & 0x1F == kind and self._string(name_offset) == name:
                yield type_id

    def type(self, type_id: int) -> Type:
        """Return the type of this id; raise ValueError if there is none, or it is damaged."""
        if type_id not in self._types:
            self._types[type_id] = self._decode(self._offset(type_id))
        return self._types[type_id]

    def _offset(self, type_id: int) -> int:
        if not 0 < type_id <= len(self._offsets):
            raise ValueError(f"BTF has no type {type_id}")
        return self._offsets[type_id - 1]

    def _decode(self, at: int) -> Type:
        name_offset, info, size_or_type = self._unpack(_TYPE, at)
        kind = BtfKind((info >> 24) & 0x1F)
        name = self._string(name_offset)
        count, flag = info & 0xFFFFFF, bool(info >> 31)
        at += _TYPE.size
        decoded = Type(kind, name)
        if kind is BtfKind.INT:
            decoded = _int(name, size_or_type, *self._unpack(_WORD, at))
        elif kind is BtfKind.ARRAY:
            element, _, elements = self._unpack(_TYPE, at)
            decoded = Type(kind, target=element, count=elements)
        elif kind in (BtfKind.STRUCT, BtfKind.UNION):
            decoded = Type(kind, name, size_or_type, members=self._members(at, count, bitfields=flag))
        elif kind is BtfKind.DATASEC:
            decoded = Type(kind, name, size_or_type, members=self._variables(at, count))
        elif kind in (BtfKind.ENUM, BtfKind.ENUM64):
            names = self._enumerators(at, count, wide=kind is BtfKind.ENUM64, signed=flag)
            decoded = Type(kind, name, size_or_type, names=names, signed=flag)
        elif kind is BtfKind.FLOAT:
            decoded = Type(kind, name, size_or_type)
        elif kind is BtfKind.PTR or kind in _MODIFIERS:
            decoded = Type(kind, name, _POINTER_SIZE if kind is BtfKind.PTR else 0, target=size_or_type)
        return decoded

    def _members(self, at: int, count: int, *, bitfields: bool) -> tuple[BtfMember, ...]:
        members = []
        for item in range(at, at + 12 * count, 12):
            name, type_id, offset = self._unpack(_TYPE, item)
            width, offset = (offset >> 24, offset & 0xFFFFFF) if bitfields else (0, offset)
            members.append(BtfMember(self._string(name), type_id, offset, width))
        return tuple(members)

    def _variables(self, at: int, count: int) -> tuple[BtfMember, ...]:
        members = []
        for item in range(at, at + 12 * count, 12):
            variable, offset, _ = self._unpack(_TYPE, item)
            name, info, target = self._unpack(_TYPE, self._offset(variable))
            if (info >> 24) & 0x1F != BtfKind.VAR:
                raise ValueError(f"BTF type {variable}, of a section, is not a variable")
            members.append(BtfMember(self._string(name), target, offset * 8))
        return tuple(members)

    def _enumerators(self, at: int, count: int, *, wide: bool, signed: bool) -> dict[int, str]:
        layout = struct.Struct("=I" + "I" * wide + ("i" if signed else "I"))
        names: dict[int, str] = {}
        for item in range(at, at + layout.size * count, layout.size):
            name, *words = self._unpack(layout, item)
            number = words[0] | words[1] << 32 if wide else words[0]
            names.setdefault(number, self._string(name))
        return names

    def peel(self, type_id: int) -> tuple[Type, tuple[str, ...]]:
        """
        Return the type behind typedefs, qualifiers and tags, and the names of the typedefs on the way.

        Raises:
            ValueError: The references form a cycle, or end at a type that does not exist.

        """
        typedefs: list[str] = []
        for _ in range(MAX_DEPTH):
            referred = self.type(type_id)
            if referred.kind not in _MODIFIERS:
                return referred, tuple(typedefs)
            if referred.kind is BtfKind.TYPEDEF:
                typedefs.append(referred.name)
            type_id = referred.target
        raise ValueError(f"BTF type {type_id} is behind more than {MAX_DEPTH} references")


def _section(blob: bytes, name: str, start: int, length: int) -> bytes:
    if start + length > len(blob):
        raise ValueError(f"BTF ends before its {name}: {len(blob)} of {start + length} bytes")
    return blob[start : start + length]


def _int(name: str, size: int, word: int) -> Type:
    flags = word >> 24 & 0xF
    bit_offset, bits = word >> 16 & 0xFF, word & 0xFF
    if not 0 < bits <= 8 * size - bit_offset:
        raise ValueError(f"BTF integer {name} has {bits} bits at bit {bit_offset} of {size} bytes")
    # clang marks char by its name only.
    signed, char, boolean = bool(flags & _SIGNED), name == "char" or bool(flags & _CHAR), bool(flags & _BOOL)
    char = char and size == 1
    return Type(
        BtfKind.INT, name, size, signed=signed, char=char, boolean=boolean, bit_offset=bit_offset, bits=bits
    )
