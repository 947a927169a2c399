# SPDX-License-Identifier: Apache-2.0
import ctypes
import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.describe.layout import shape_from
from sidecar.describe.shape import Encoding, Part
from sidecar.describe.spec import LayoutSpec, Member
from sidecar.errors import ConfigError

OPAQUE = Part("key", 0, 32, Encoding.BYTES, "4 bytes")
C = {
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
    "s32": ctypes.c_int32,
    "be16": ctypes.c_uint16,
    "be64": ctypes.c_uint64,
    "bool": ctypes.c_bool,
}


def value_of(*members, size, packed=False):
    """The parts of a value of these members."""
    return shape_from(LayoutSpec(members, packed=packed), OPAQUE, 4, size).value


def offsets(parts):
    """Name, byte offset and width of each part."""
    return [(part.name, part.bit_offset // 8, part.bits) for part in parts]


SCALARS = st.builds(
    lambda kind, dims: (kind, dims), st.sampled_from(sorted(C)), st.sampled_from([(), (), (1,), (3,), (2, 3)])
)
STRUCTS = st.recursive(
    st.lists(SCALARS, min_size=1, max_size=5),
    lambda inner: st.lists(st.one_of(SCALARS, inner), min_size=1, max_size=4),
    max_leaves=10,
)


def as_members(struct):
    """A drawn struct as the members of a layout."""
    return tuple(
        Member(f"m{at}", members=as_members(member))
        if isinstance(member, list)
        else Member(f"m{at}", *member)
        for at, member in enumerate(struct)
    )


def as_ctypes(struct, *, packed):
    """The same struct in ctypes, which lays it out as the C compiler does."""
    fields = [
        (
            f"m{at}",
            as_ctypes(member, packed=packed)
            if isinstance(member, list)
            else functools.reduce(lambda kind, count: kind * count, reversed(member[1]), C[member[0]]),
        )
        for at, member in enumerate(struct)
    ]
    body = {"_pack_": 1, "_layout_": "ms", "_fields_": fields} if packed else {"_fields_": fields}
    return type("Struct", (ctypes.Structure,), body)


def leaves(kind, struct, prefix="", base=0):
    """Name, byte offset and width of each leaf by ctypes."""
    for at, member in enumerate(struct):
        name, offset = f"m{at}", base + getattr(kind, f"m{at}").offset
        if isinstance(member, list):
            yield from leaves(dict(kind._fields_)[name], member, f"{prefix}{name}.", offset)
            continue
        size = ctypes.sizeof(C[member[0]])
        for at_index, indices in enumerate(itertools.product(*map(range, member[1]))):
            yield ".".join((f"{prefix}{name}", *map(str, indices))), offset + at_index * size, 8 * size


@given(STRUCTS, st.booleans())
def test_members_are_laid_out_as_in_c(struct, packed):
    """Nested, in arrays, padded or packed: each part is at the offset that ctypes gives it."""
    kind = as_ctypes(struct, packed=packed)

    parts = value_of(*as_members(struct), size=ctypes.sizeof(kind), packed=packed)

    assert offsets(parts) == list(leaves(kind, struct))


def test_an_offset_moves_a_member_and_those_after_it():
    """`@` places a member, the next member follows it; bytes that no member describes are left out."""
    parts = value_of(Member("a", "u32"), Member("b", "u16", (), 9), Member("c", "u32"), size=64)

    assert offsets(parts) == [("a", 0, 32), ("b", 9, 16), ("c", 12, 32)]


def test_text_and_bytes_of_a_key_are_one_part():
    """`char[16]` is a string, `u8[4]` in a key bytes; in a value each byte is a counter."""
    members = (Member("name", "char", (16,)), Member("addr", "u8", (4,)))

    shape = shape_from(LayoutSpec(value=members, key=members), OPAQUE, 20, 20)

    assert [(part.name, part.bits, part.encoding) for part in shape.key] == [
        ("name", 128, Encoding.STRING),
        ("addr", 32, Encoding.BYTES),
    ]
    assert [part.name for part in shape.value] == ["name", "addr.0", "addr.1", "addr.2", "addr.3"]


def test_types_mean_what_they_mean_in_btf():
    """Signed, big-endian, boolean: as BTF describes the same C type."""
    parts = value_of(
        Member("a", "s32"), Member("b", "be32"), Member("c", "bool"), Member("d", "char"), size=12
    )

    assert [(part.encoding, part.big_endian, part.type) for part in parts] == [
        (Encoding.SIGNED, False, "__s32"),
        (Encoding.UNSIGNED, True, "__be32"),
        (Encoding.BOOL, False, "_Bool"),
        (Encoding.SIGNED, False, "char"),
    ]


def test_a_key_that_the_layout_leaves_out_is_opaque():
    """Its part is the member that the caller passes."""
    assert shape_from(LayoutSpec((Member("value", "u64"),)), OPAQUE, 4, 8).key == (OPAQUE,)


@pytest.mark.parametrize("offset", [None, 8])
def test_a_layout_of_another_size_is_refused(offset):
    """Its counters would be read at wrong offsets."""
    layout = LayoutSpec((Member("a", "u64"), Member("b", "u64", (), offset)), at="flows.yaml:3")

    with pytest.raises(ConfigError, match=r"flows\.yaml:3: the layout's value: it has 16 bytes.*has 12"):
        shape_from(layout, OPAQUE, 4, 12)


def test_an_array_of_structs_has_the_parts_of_each():
    """As by BTF: the elements by their index, text and nested arrays within."""
    queue = (Member("packets", "u64"), Member("names", "char", (2, 4)), Member("level", "s32"))

    assert offsets(value_of(Member("q", dims=(2,), members=queue), Member("last", "u8"), size=56)) == [
        ("q.0.packets", 0, 64),
        ("q.0.names.0", 8, 32),
        ("q.0.names.1", 12, 32),
        ("q.0.level", 16, 32),
        ("q.1.packets", 24, 64),
        ("q.1.names.0", 32, 32),
        ("q.1.names.1", 36, 32),
        ("q.1.level", 40, 32),
        ("last", 48, 8),
    ]
