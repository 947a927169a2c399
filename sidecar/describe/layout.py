# SPDX-License-Identifier: Apache-2.0
"""From a layout that the user wrote to the shape of a map, aligned as C does it (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec, Member
from sidecar.errors import ConfigError


@dataclass(frozen=True)
class Scalar:
    """A type that a layout can name: its size and alignment in bytes, and what BTF would say."""

    size: int
    encoding: Encoding
    type: str
    big_endian: bool = False


TYPES: Mapping[str, Scalar] = {
    **{f"u{8 * size}": Scalar(size, Encoding.UNSIGNED, f"__u{8 * size}") for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": Scalar(size, Encoding.SIGNED, f"__s{8 * size}") for size in (1, 2, 4, 8)},
    **{
        f"be{8 * size}": Scalar(size, Encoding.UNSIGNED, f"__be{8 * size}", big_endian=True)
        for size in (2, 4, 8)
    },
    "bool": Scalar(1, Encoding.BOOL, "_Bool"),
    "char": Scalar(1, Encoding.STRING, "char"),
}
"""The types by the name that they have in a layout."""


@dataclass(frozen=True)
class _Placed:
    """A struct laid out: where its members are, in bytes, and what it takes up."""

    members: tuple[tuple[Member, int, "_Placed | None"], ...]
    size: int
    align: int
    explicit: bool


def shape_from(layout: LayoutSpec, opaque_key: Part, key_size: int, value_size: int) -> Shape:
    """
    Return the shape that a layout describes.

    Args:
        layout: What the user says.
        opaque_key: The key, if the layout does not say how it looks.
        key_size: The map's, in bytes.
        value_size: The same.

    Raises:
        ConfigError: The layout has another size than the map.

    """
    key = (opaque_key,) if layout.key is None else _parts(layout, layout.key, "key", key_size)
    return Shape(key, _parts(layout, layout.value, "value", value_size), key_size, value_size)


def _parts(layout: LayoutSpec, members: Sequence[Member], what: str, size: int) -> tuple[Part, ...]:
    placed = _place(members, packed=layout.packed)
    if placed.size > size or (placed.size != size and not placed.explicit):
        raise ConfigError(
            f"{layout.at}: use the layout's {what}" if layout.at else f"use the layout's {what}",
            f"it has {placed.size} bytes, the map's {what} has {size}",
            f"describe all of it, or place members: `{members[-1].name}: u64 @ 8`",
        )
    return tuple(_flat(placed, "", 0, in_key=what == "key"))


def _place(members: Sequence[Member], *, packed: bool) -> _Placed:
    """Lay members out one after the other; a struct's size is a multiple of its alignment, as in C."""
    placed: list[tuple[Member, int, _Placed | None]] = []
    here, end, align, explicit = 0, 0, 1, False
    for member in members:
        inner = _place(member.members, packed=packed) if member.members else None
        unit = inner.align if inner else TYPES[member.type].size
        size = inner.size if inner else unit * (member.count or 1)
        unit = 1 if packed else unit
        at = _up(here, unit) if member.offset is None else member.offset
        placed.append((member, at, inner))
        here, align = at + size, max(align, unit)
        end = max(end, here)
        explicit = explicit or member.offset is not None or (inner is not None and inner.explicit)
    return _Placed(tuple(placed), end if explicit else _up(end, align), align, explicit)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _flat(placed: _Placed, prefix: str, base: int, *, in_key: bool) -> Iterator[Part]:
    for member, at, inner in placed.members:
        if inner:
            yield from _flat(inner, f"{prefix}{member.name}.", base + at, in_key=in_key)
        else:
            yield from _leaves(member, prefix + member.name, base + at, in_key=in_key)


def _leaves(member: Member, name: str, at: int, *, in_key: bool) -> Iterator[Part]:
    """Yield the parts of a member: text and a key's bytes are one part, other arrays one for each element."""
    scalar = TYPES[member.type]
    bits = 8 * scalar.size
    whole = Part(name, 8 * at, bits * (member.count or 1), scalar.encoding, scalar.type, scalar.big_endian)
    if not member.count:
        # A char alone is a small number, as BTF says it too.
        yield replace(whole, encoding=Encoding.SIGNED) if member.type == "char" else whole
    elif member.type == "char":
        yield whole
    elif in_key and member.type == "u8":
        yield replace(whole, encoding=Encoding.BYTES)
    else:
        for index in range(member.count):
            yield replace(whole, name=f"{name}.{index}", bit_offset=8 * at + index * bits, bits=bits)
