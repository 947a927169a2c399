# SPDX-License-Identifier: Apache-2.0
"""Write a map's shape as the `layout` section of a configuration, for use without BTF (pure)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidecar.describe.file.layout import layout
from sidecar.describe.file.yaml_nodes import parse
from sidecar.describe.layout import shape_from
from sidecar.describe.shape import Encoding, Part, Shape, covering_parts
from sidecar.describe.spec import LayoutSpec
from sidecar.errors import Collector, ConfigError
from sidecar.kernel.map_kinds import MapKind

_MOST_FIELDS = 32
_WIDTHS = (8, 16, 32, 64)
_PLAIN = {
    Encoding.UNSIGNED: "u",
    Encoding.SIGNED: "s",
    Encoding.POINTER: "u",
    Encoding.ENUM: "u",
}


@dataclass
class _Leaf:
    """A member such as `u64` or `u64[4]`; *offset* in bytes from the start of the key or value."""

    type: str
    offset: int
    count: int = 0


_Tree = Mapping[str, "_Leaf | _Tree"]


def lines(shape: Shape) -> list[str]:
    """Return the lines of the section; empty for what a layout lacks: bit-fields, arrays of structs."""
    try:
        key, value = _tree(shape.key), _tree(shape.value)
    except ValueError:
        return []
    for packed, explicit in ((False, False), (True, False), (True, True)):
        section = list(_section(key, value, packed=packed, explicit=explicit))
        if _matches(section, shape):
            return section
    return []


def unknown(key_size: int, value_size: int, kind: MapKind) -> list[str]:
    """Return a section to start from, for a map of which only the sizes are known."""
    unit = next(size for size in (8, 4, 2, 1) if value_size % size == 0)
    offsets = range(0, min(value_size, _MOST_FIELDS * unit), unit)
    key = [] if kind.is_array else [f"  key: u8[{key_size}]"]
    if kind.is_trie:
        key = [f"  key: {{prefixlen: u32, prefix: 'u8[{key_size - 4}]'}}"]
    value = [f"    field_{offset // unit}: u{8 * unit} @ {offset}" for offset in offsets]
    return ["layout:", *key, "  value:", *value]


def read(section: Sequence[str]) -> LayoutSpec:
    """Parse a section; raise ConfigError if it is invalid."""
    return layout(parse("\n".join(section), "layout").mapping("layout", Collector())["layout"])


def _tree(parts: Sequence[Part]) -> dict[str, "_Leaf | _Tree"]:
    """Return the parts as nested structs by name; raise ValueError for a part that a layout lacks."""
    root: dict[str, _Leaf | _Tree] = {}
    for part in covering_parts(parts):
        *path, last = part.name.split(".")
        number = int(last) if last.isdigit() else -1
        if number >= 0:
            *path, last = path
        here = root
        for name in path:
            inner = here.setdefault(name, {})
            if not isinstance(inner, dict) or name.isdigit():
                raise ValueError(part.name)
            here = inner
        leaf = here.setdefault(last, _Leaf(_type(part), part.bit_offset // 8))
        if not isinstance(leaf, _Leaf) or number > leaf.count or (number < 0 and leaf.count):
            raise ValueError(part.name)
        leaf.count = max(leaf.count, number + 1)
    return root


def _type(part: Part) -> str:
    if part.bit_offset % 8:
        raise ValueError(part.name)
    if part.encoding in _PLAIN and part.bits in _WIDTHS:
        negative = any(number < 0 for number in part.names)
        return f"{'be' if part.big_endian else 's' if negative else _PLAIN[part.encoding]}{part.bits}"
    if part.encoding is Encoding.BOOL and part.bits == 8:
        return "bool"
    if part.elements and [element.name for element in part.elements.parts] == [""]:
        return f"{_type(part.elements.parts[0])}[{part.elements.count}]"
    if part.encoding in (Encoding.BYTES, Encoding.STRING, Encoding.OTHER) and part.bits % 8 == 0:
        return f"{'char' if part.encoding is Encoding.STRING else 'u8'}[{part.bits // 8}]"
    raise ValueError(part.name)


def _section(key: _Tree, value: _Tree, *, packed: bool, explicit: bool) -> Iterator[str]:
    yield "layout:"
    if packed:
        yield "  packed: true"
    for name, tree in (("key", key), ("value", value)):
        only = tree.get(name) if len(tree) == 1 else None
        if isinstance(only, _Leaf) and not explicit:
            yield f"  {name}: {_member(only, 0, explicit=False)}"
        elif tree:
            yield f"  {name}:"
            yield from _members(tree, "    ", 0, explicit=explicit)


def _members(tree: _Tree, indent: str, base: int, *, explicit: bool) -> Iterator[str]:
    for name, member in tree.items():
        if isinstance(member, _Leaf):
            yield f"{indent}{name}: {_member(member, base, explicit=explicit)}"
        else:
            yield f"{indent}{name}:"
            yield from _members(member, indent + "  ", _start(member), explicit=explicit)


def _member(leaf: _Leaf, base: int, *, explicit: bool) -> str:
    dimension = f"[{leaf.count}]" if leaf.count else ""
    return f"{leaf.type}{dimension}{f' @ {leaf.offset - base}' if explicit else ''}"


def _start(tree: _Tree) -> int:
    return min(member.offset if isinstance(member, _Leaf) else _start(member) for member in tree.values())


def _matches(section: Sequence[str], shape: Shape) -> bool:
    """Return whether *section*, parsed as a user's, has each part at the same place as *shape*."""
    opaque = Part("key", 0, 8 * shape.key_size, Encoding.BYTES, "")
    try:
        parsed = shape_from(read(section), opaque, shape.key_size, shape.value_size)
    except ConfigError:
        return False
    return all(
        _places(part for part in covering_parts(wanted) if part.encoding is not Encoding.OTHER)
        <= _places(parts)
        for wanted, parts in ((shape.key, parsed.key), (shape.value, parsed.value))
    )


def _places(parts: Iterable[Part]) -> set[tuple[str, int, int]]:
    return {(part.name, part.bit_offset, part.bits) for part in parts}
