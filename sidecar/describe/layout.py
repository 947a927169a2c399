# SPDX-License-Identifier: Apache-2.0
"""From a written layout to the shape of a map, aligned as in C (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from sidecar.describe.entry_error import entry_error
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec, Member


@dataclass(frozen=True)
class _Scalar:
    """A type that a layout can name: its size and alignment in bytes, and how BTF describes it."""

    size: int
    encoding: Encoding
    type: str
    big_endian: bool = False


TYPES: Mapping[str, _Scalar] = {
    **{f"u{8 * size}": _Scalar(size, Encoding.UNSIGNED, f"__u{8 * size}") for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": _Scalar(size, Encoding.SIGNED, f"__s{8 * size}") for size in (1, 2, 4, 8)},
    **{
        f"be{8 * size}": _Scalar(size, Encoding.UNSIGNED, f"__be{8 * size}", big_endian=True)
        for size in (2, 4, 8)
    },
    "bool": _Scalar(1, Encoding.BOOL, "_Bool"),
    "char": _Scalar(1, Encoding.STRING, "char"),
}
"""The types by their names in a layout."""


@dataclass(frozen=True)
class _Struct:
    """A struct laid out as C does: its members with their offsets, its size and alignment, in bytes."""

    members: tuple[tuple[Member, int, "_Struct | None"], ...]
    size: int
    align: int
    explicit: bool
    """Whether some member has a written offset: the layout may then leave bytes out."""


def shape_from(layout: LayoutSpec, opaque_key: Part, key_size: int, value_size: int) -> Shape:
    """
    Return the shape that a layout describes.

    Args:
        layout: What the user wrote.
        opaque_key: The key, if the layout leaves it out.
        key_size: Bytes of the map's key.
        value_size: Bytes of the map's value.

    Raises:
        ConfigError: The layout and the map differ in size.

    """
    key = (opaque_key,) if layout.key is None else _parts(layout, layout.key, "key", key_size)
    return Shape(key, _parts(layout, layout.value, "value", value_size), key_size, value_size)


def _parts(layout: LayoutSpec, members: Sequence[Member], what: str, size: int) -> tuple[Part, ...]:
    struct = _lay_out(members, packed=layout.packed)
    if struct.size > size or (struct.size != size and not struct.explicit):
        raise entry_error(
            layout.at,
            f"the layout's {what}",
            f"it has {struct.size} bytes, the map's {what} has {size}",
            f"describe all of it, or place members: `{members[-1].name}: u64 @ 8`",
        )
    return tuple(_flat(struct, "", 0, in_key=what == "key"))


def _lay_out(members: Sequence[Member], *, packed: bool) -> _Struct:
    """Lay out members one after the other; a struct's size is a multiple of its alignment, as in C."""
    placed: list[tuple[Member, int, _Struct | None]] = []
    here, end, align, explicit = 0, 0, 1, False
    for member in members:
        inner = _lay_out(member.members, packed=packed) if member.members else None
        unit = inner.align if inner else TYPES[member.type].size
        size = (inner.size if inner else unit) * prod(member.dims)
        unit = 1 if packed else unit
        at = _round_up(here, unit) if member.offset is None else member.offset
        placed.append((member, at, inner))
        here, align = at + size, max(align, unit)
        end = max(end, here)
        explicit = explicit or member.offset is not None or (inner is not None and inner.explicit)
    return _Struct(tuple(placed), end if explicit else _round_up(end, align), align, explicit)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _flat(struct: _Struct, prefix: str, base: int, *, in_key: bool) -> Iterator[Part]:
    for member, at, inner in struct.members:
        name = prefix + member.name
        if inner:
            for path, offset in _elements(name, member.dims, inner.size):
                yield from _flat(inner, f"{path}.", base + at + offset, in_key=in_key)
        else:
            yield from _leaves(member, name, base + at, in_key=in_key)


def _leaves(member: Member, name: str, at: int, *, in_key: bool) -> Iterator[Part]:
    """Yield the parts of a member: one for text and for a key's bytes, one per element for other arrays."""
    scalar, dims, encoding = TYPES[member.type], member.dims, TYPES[member.type].encoding
    size = scalar.size
    if member.type == "char" and not dims:
        encoding = Encoding.SIGNED  # a single char is a small number, as in BTF
    elif member.type == "char" or (member.type == "u8" and in_key and dims):
        size, dims = size * dims[-1], dims[:-1]
        encoding = Encoding.STRING if member.type == "char" else Encoding.BYTES
    for path, offset in _elements(name, dims, size):
        yield Part(path, 8 * (at + offset), 8 * size, encoding, scalar.type, scalar.big_endian)


def _elements(name: str, dims: Sequence[int], size: int) -> Iterator[tuple[str, int]]:
    """Yield the path and the offset in bytes of each element of an array, or of what is no array."""
    for number, indices in enumerate(product(*map(range, dims))):
        yield ".".join((name, *map(str, indices))), number * size
