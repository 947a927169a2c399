# SPDX-License-Identifier: Apache-2.0
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.describe.btf import MAX_DEPTH, Btf, BtfKind
from sidecar.describe.btf_shape import MAX_ELEMENTS, MAX_MEMBERS, shape_of
from sidecar.describe.shape import Encoding, Part, part_called
from tests.unit.describe.btf_blob import BOOL, SIGNED, Blob


class Types(Blob):
    """A blob that starts with the usual integers."""

    def __init__(self):
        super().__init__()
        self.u8 = self.typedef("__u8", self.int("unsigned char", 1))
        self.u16 = self.typedef("__u16", self.int("unsigned short", 2))
        self.u32 = self.typedef("__u32", self.int("unsigned int", 4))
        self.u64 = self.typedef("__u64", self.int("unsigned long long", 8))
        self.s64 = self.typedef("__s64", self.int("long long", 8, SIGNED))
        self.be16 = self.typedef("__be16", self.u16)
        self.be32 = self.typedef("__be32", self.u32)
        self.char = self.int("char", 1, SIGNED)
        self.bool = self.int("_Bool", 1, BOOL)

    def sized(self, type_id, size):
        return shape_of(Btf(self.bytes()), type_id, type_id, size, size)

    def key(self, type_id, size):
        return self.sized(type_id, size).key

    def value(self, type_id, size):
        return self.sized(type_id, size).value


@pytest.fixture
def types():
    return Types()


def offsets(parts):
    return [(part.name, part.bit_offset, part.bits) for part in parts]


def test_a_bare_scalar_is_called_key_or_value(types):
    """A map of u32 to u64 has one part of each."""
    shape = shape_of(Btf(types.bytes()), types.u32, types.u64, 4, 8)
    assert shape.key == (Part("key", 0, 32, Encoding.UNSIGNED, "__u32"),)
    assert shape.value == (Part("value", 0, 64, Encoding.UNSIGNED, "__u64"),)
    assert (shape.key_size, shape.value_size) == (4, 8)


def test_scalars_keep_their_outermost_name(types):
    """Sign, bool and byte order come from the whole chain of typedefs, the name from its outermost."""
    address = types.typedef("ip4_t", types.add(BtfKind.CONST, size=types.be32))
    record = types.struct(
        "r", 24, ("a", address, 0), ("b", types.be16, 32), ("c", types.bool, 48), ("d", types.s64, 64)
    )
    assert types.value(record, 24) == (
        Part("a", 0, 32, Encoding.UNSIGNED, "ip4_t", big_endian=True),
        Part("b", 32, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
        Part("c", 48, 8, Encoding.BOOL, "_Bool"),
        Part("d", 64, 64, Encoding.SIGNED, "__s64"),
    )


def test_nested_and_anonymous_structs(types):
    """Named members add a level to the name, anonymous ones do not."""
    inner = types.struct("in", 8, ("x", types.u32, 0), ("y", types.u32, 32))
    hidden = types.struct("", 16, ("n", types.u64, 0), ("deep", inner, 64))
    record = types.struct("r", 32, ("rx", inner, 0), ("", hidden, 64), ("_", types.u64, 192))
    assert offsets(types.value(record, 32)) == [
        ("rx.x", 0, 32),
        ("rx.y", 32, 32),
        ("n", 64, 64),
        ("deep.x", 128, 32),
        ("deep.y", 160, 32),
        ("_", 192, 64),
    ]


def test_arrays_in_a_value(types):
    """Elements are numbered, dimension by dimension, structs too; an empty array has no parts."""
    queue = types.struct("q", 16, ("packets", types.u64, 0), ("drops", types.u32, 64))
    record = types.struct(
        "r",
        48,
        ("q", types.array(queue, 2), 0),
        ("grid", types.array(types.array(types.u16, 2), 3), 256),
        ("bytes", types.array(types.u8, 2), 352),
        ("rest", types.array(types.u64, 0), 384),
    )
    assert offsets(types.value(record, 48)) == [
        ("q.0.packets", 0, 64),
        ("q.0.drops", 64, 32),
        ("q.1.packets", 128, 64),
        ("q.1.drops", 192, 32),
        *(
            (f"grid.{row}.{column}", 256 + 32 * row + 16 * column, 16)
            for row in range(3)
            for column in (0, 1)
        ),
        ("bytes.0", 352, 8),
        ("bytes.1", 360, 8),
    ]


def test_a_bare_array_is_numbered_under_value(types):
    """A map whose value is an array has the parts value.0, value.1."""
    assert offsets(types.value(types.array(types.u64, 2), 16)) == [("value.0", 0, 64), ("value.1", 64, 64)]


def test_arrays_of_bytes_in_a_key_are_one_part(types):
    """u8: bytes; char: a string; two dimensions: one part for each row; others are numbered."""
    mac = types.typedef("mac_t", types.array(types.u8, 6))
    key = types.struct(
        "k",
        32,
        ("mac", mac, 0),
        ("name", types.array(types.char, 10), 48),
        ("pair", types.array(types.array(types.u8, 4), 2), 128),
        ("ports", types.array(types.be16, 2), 192),
        ("on", types.array(types.bool, 1), 224),
    )
    assert types.key(key, 32) == (
        Part("mac", 0, 48, Encoding.BYTES, "mac_t"),
        Part("name", 48, 80, Encoding.STRING, "char[10]"),
        Part("pair.0", 128, 32, Encoding.BYTES, "__u8[4]"),
        Part("pair.1", 160, 32, Encoding.BYTES, "__u8[4]"),
        Part("ports.0", 192, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
        Part("ports.1", 208, 16, Encoding.UNSIGNED, "__be16", big_endian=True),
        Part("on.0", 224, 8, Encoding.BOOL, "_Bool"),
    )
    assert types.value(types.array(types.char, 16), 16) == (
        Part("value", 0, 128, Encoding.STRING, "char[16]"),
    )


def test_internet_addresses_are_one_part(types):
    """in_addr and in6_addr are bytes, bare or as members, whatever unions they contain."""
    union = types.union("", 16, ("u8", types.array(types.u8, 16)), ("u32", types.array(types.be32, 4)))
    in6 = types.struct("in6_addr", 16, ("in6_u", union, 0))
    in4 = types.struct("in_addr", 4, ("s_addr", types.be32, 0))
    both = types.struct("k", 20, ("to", in6, 0), ("from", types.typedef("v4", in4), 128))
    assert types.key(in6, 16) == (Part("key", 0, 128, Encoding.BYTES, "struct in6_addr"),)
    assert types.key(both, 20) == (
        Part("to", 0, 128, Encoding.BYTES, "struct in6_addr"),
        Part("from", 128, 32, Encoding.BYTES, "struct in_addr"),
    )


def test_members_of_a_union_with_one_type_are_one_part(types):
    """In the record of xdp-tools each counter has two names: the first is the part's."""
    packets = types.union("", 8, ("packets", types.u64), ("rx_packets", types.u64))
    octets = types.union("", 8, ("bytes", types.u64), ("rx_bytes", types.u64))
    record = types.struct("xdp_stats_record", 16, ("", packets, 0), ("", octets, 64))
    assert types.value(record, 16) == (
        Part("packets", 0, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_packets",)),
        Part("bytes", 64, 64, Encoding.UNSIGNED, "__u64", aliases=("rx_bytes",)),
    )


def test_unions_of_structs_with_the_same_layout_are_merged(types):
    """Named unions give dotted names and aliases; the names of number types do not matter."""
    new = types.struct("new", 16, ("packets", types.u64, 0), ("bytes", types.u64, 64))
    old = types.struct("old", 16, ("p", types.int("unsigned long", 8), 0), ("b", types.u64, 64))
    record = types.struct(
        "r", 24, ("all", types.u64, 0), ("u", types.union("", 16, ("", new), ("o", old)), 64)
    )
    assert types.value(types.array(record, 1), 24) == (
        Part("value.0.all", 0, 64, Encoding.UNSIGNED, "__u64"),
        Part("value.0.u.packets", 64, 64, Encoding.UNSIGNED, "__u64", aliases=("value.0.u.o.p",)),
        Part("value.0.u.bytes", 128, 64, Encoding.UNSIGNED, "__u64", aliases=("value.0.u.o.b",)),
    )


def test_unions_of_different_types_are_refused(types):
    """A struct over a number, signed over unsigned, big endian over little: parts that are not exported."""
    pair = types.struct("pair", 8, ("low", types.u32, 0), ("high", types.u32, 32))
    union = types.union("u", 8, ("all", types.u64), ("half", pair))
    refused = "member of a union: all, half.low share the same bytes"
    assert types.value(types.struct("r", 8, ("u", union, 0)), 8) == (
        Part("u.all", 0, 64, Encoding.UNSIGNED, "__u64", refused=refused),
        Part("u.half.low", 0, 32, Encoding.UNSIGNED, "__u32", refused=refused),
        Part("u.half.high", 32, 32, Encoding.UNSIGNED, "__u32", refused=refused),
    )
    for other, first, size in ((types.s64, types.u64, 8), (types.be32, types.u32, 4)):
        union = types.union("", size, ("a", first), ("b", other))
        assert [part.refused != "" for part in types.value(union, size)] == [True, True]


def test_unions_of_enums_with_other_names_are_refused(types):
    """Numbers with different meanings are not one counter."""
    first = types.enum("one", 4, [("A", 0)])
    second = types.enum("two", 4, [("B", 0)])
    assert [
        bool(part.refused) for part in types.value(types.union("", 4, ("a", first), ("b", second)), 4)
    ] == [True] * 2
    assert len(types.value(types.union("", 4, ("a", first), ("b", first)), 4)) == 1


def test_unions_of_bytes(types):
    """An address over bytes is not one part: they have different decoders."""
    octets = types.array(types.u8, 16)
    in6 = types.struct("in6_addr", 16, ("u8", octets, 0))
    union = types.union("", 16, ("six", in6), ("raw", octets))
    refused = "member of a union: six, raw share the same bytes"
    assert types.key(union, 16) == (
        Part("six", 0, 128, Encoding.BYTES, "struct in6_addr", refused=refused),
        Part("raw", 0, 128, Encoding.BYTES, "__u8[16]", refused=refused),
    )


def test_empty_members_of_a_union_do_not_count(types):
    """A union with an empty struct has the parts of its other member."""
    union = types.union("", 8, ("none", types.struct("e", 0)), ("n", types.u64))
    assert types.value(union, 8) == (Part("n", 0, 64, Encoding.UNSIGNED, "__u64"),)
    assert types.value(types.struct("e", 0, ("rest", types.array(types.u64, 0), 0)), 0) == ()


def test_bit_fields(types):
    """Bit-fields have their own width and offset; unnamed ones are padding; none is big-endian."""
    action = types.enum("action", 4, [("DROP", 0), ("PASS", -1)], signed=True)
    record = types.struct(
        "r",
        8,
        ("a", types.u32, 0, 3),
        ("", types.u32, 3, 5),
        ("b", types.s64, 8, 20),
        ("act", action, 28, 4),
        ("c", types.be32, 32, 16),
        ("d", types.u16, 48, 0),
    )
    assert types.value(record, 8) == (
        Part("a", 0, 3, Encoding.UNSIGNED, "__u32"),
        Part("b", 8, 20, Encoding.SIGNED, "__s64"),
        Part("act", 28, 4, Encoding.ENUM, "enum action", names={0: "DROP", -1: "PASS"}),
        Part("c", 32, 16, Encoding.UNSIGNED, "__be32"),
        Part("d", 48, 16, Encoding.UNSIGNED, "__u16"),
    )


def test_bit_fields_of_older_compilers(types):
    """Before the flag, a bit-field was an integer of fewer bits somewhere in its bytes."""
    record = types.struct(
        "r",
        8,
        ("a", types.int("unsigned int", 4, bits=3), 32),
        ("b", types.int("unsigned int", 4, bits=13, offset=3), 32),
    )
    assert offsets(types.value(record, 8)) == [("a", 32, 3), ("b", 35, 13)]


def test_packed_structs_and_padding(types):
    """Offsets are those of BTF: no alignment is assumed, and padding is not a part."""
    packed = types.struct("p", 13, ("a", types.u8, 0), ("b", types.u64, 8), ("c", types.u32, 72))
    padded = types.struct(
        "q", 64, ("a", types.u8, 0), ("b", types.u64, 64), ("none", types.struct("e", 0), 512)
    )
    assert offsets(types.value(packed, 13)) == [("a", 0, 8), ("b", 8, 64), ("c", 72, 32)]
    assert offsets(types.value(padded, 64)) == [("a", 0, 8), ("b", 64, 64)]


def test_parts_that_are_not_numbers_are_refused(types):
    """Pointers, floats, integers of more than 64 bits and structs private to the kernel."""
    lock = types.struct("bpf_spin_lock", 4, ("val", types.u32, 0))
    record = types.struct(
        "r",
        56,
        ("wide", types.int("__int128", 16, SIGNED), 0),
        ("next", types.add(BtfKind.PTR, size=types.struct("sock", 8)), 128),
        ("any", types.add(BtfKind.PTR), 192),
        ("real", types.add(BtfKind.FLOAT, "double", 8), 256),
        ("lock", lock, 320),
        ("packets", types.u64, 384),
    )
    assert types.value(record, 56) == (
        Part(
            "wide", 0, 128, Encoding.OTHER, "__int128", refused="an integer of 128 bits: up to 64 can be read"
        ),
        Part("next", 128, 64, Encoding.POINTER, "struct sock *", refused="a pointer"),
        Part("any", 192, 64, Encoding.POINTER, "void *", refused="a pointer"),
        Part("real", 256, 64, Encoding.OTHER, "double", refused="a floating-point number"),
        Part("lock", 320, 32, Encoding.OTHER, "struct bpf_spin_lock", refused="private to the kernel"),
        Part("packets", 384, 64, Encoding.UNSIGNED, "__u64"),
    )


def test_a_users_struct_may_have_the_prefix_bpf(types):
    """Only the kernel's own structs are refused, not every struct with such a prefix."""
    record = types.struct("bpf_timer_stats", 8, ("packets", types.u64, 0))
    assert offsets(types.value(record, 8)) == [("packets", 0, 64)]


def test_wide_enums_are_enums(types):
    """An enum of 64 bits keeps its names."""
    wide = types.enum("wide", 8, [("HIGH", 1 << 40)], wide=True)
    assert types.value(wide, 8) == (
        Part("value", 0, 64, Encoding.ENUM, "enum wide", names={1 << 40: "HIGH"}),
    )


def test_global_variables_are_parts_without_a_key(types):
    """A map of global variables has a section as its value, and no key."""
    variables = [types.add(BtfKind.VAR, name, types.u64, tail=bytes(4)) for name in ("seen", "lost")]
    tail = b"".join(
        number.to_bytes(4, "little") + (8 * at).to_bytes(4, "little") + (8).to_bytes(4, "little")
        for at, number in enumerate(variables)
    )
    section = types.add(BtfKind.DATASEC, ".bss", 16, vlen=2, tail=tail)
    shape = shape_of(Btf(types.bytes()), 0, section, 4, 16)
    assert shape.key == ()
    assert offsets(shape.value) == [("seen", 0, 64), ("lost", 64, 64)]


def test_an_array_that_is_too_long_is_one_refused_part(types):
    """Four billion counters are not exported; the rest of the value is."""
    count = 0xFFFFFFF0
    huge = types.array(types.u8, count)
    record = types.struct("r", count + 8, ("n", types.u64, 0), ("all", huge, 64))
    refused = f"an array of {count} fields: up to {MAX_ELEMENTS} are read"
    assert types.value(record, count + 8) == (
        Part("n", 0, 64, Encoding.UNSIGNED, "__u64"),
        Part("all", 64, 8 * count, Encoding.OTHER, f"__u8[{count}]", refused=refused),
    )
    grid = types.array(types.array(types.u64, MAX_ELEMENTS), 2)
    (part,) = types.value(grid, 16 * MAX_ELEMENTS)
    assert part.type == f"__u64[2][{MAX_ELEMENTS}]"
    assert part.refused


def test_an_element_of_an_array_that_is_too_long_can_be_named(types):
    """The limit is on what is expanded, not on what can be read: structs and inner arrays too."""
    slot = types.struct("slot", 24, ("hits", types.u64, 0), ("by", types.array(types.u64, 2), 64))
    size = 8 + 24 * 70_000
    record = types.struct("r", size, ("n", types.u64, 0), ("q", types.array(slot, 70_000), 64))
    parts = types.value(record, size)
    bit_offset = 64 + 192 * 69_999 + 128

    assert part_called(parts, "q.69999.by.1") == Part(
        "q.69999.by.1", bit_offset, 64, Encoding.UNSIGNED, "__u64"
    )
    assert part_called(parts, "n") == Part("n", 0, 64, Encoding.UNSIGNED, "__u64")
    for name in ("q.70000.hits", "q.-1.hits", "q.1", "q.1.miss", "q.x", "r.1", "q."):
        assert part_called(parts, name) is None


def test_the_largest_arrays_stay_unexpanded_if_there_are_too_many_fields(types):
    """The counter beside ten arrays of a thousand is read, and any of their elements by name."""
    array = types.array(types.u64, 1000)
    small = types.array(types.u64, 16)
    names = "abcdefghij"
    members = [(name, array, 64_000 * at) for at, name in enumerate(names)]
    members += [("s", small, 640_000), ("packets", types.u64, 641_024)]
    parts = types.value(types.struct("bss", 80_136, *members), 80_136)

    assert [part.name for part in parts if not part.refused] == [*(f"s.{at}" for at in range(16)), "packets"]
    assert [part.name for part in parts if part.refused] == list(names)
    assert part_called(parts, "j.999") == Part("j.999", 639_936, 64, Encoding.UNSIGNED, "__u64")


def test_too_many_parts_are_an_error(types):
    """Structs that double at each level, and unions whose names do, stop at the limit."""
    at = types.u64
    for level in range(20):
        at = types.struct("s", 16 << level, ("a", at, 0), ("b", at, 64 << level))
    with pytest.raises(ValueError, match=f"more than {MAX_MEMBERS:,} fields"):
        types.value(at, 8 << 20)
    at = types.u64
    for _ in range(20):
        at = types.union("u", 8, ("a", at), ("b", at))
    with pytest.raises(ValueError, match=f"more than {MAX_MEMBERS:,} fields"):
        types.value(at, 8)


def test_a_struct_that_contains_itself_is_an_error(types):
    """Impossible in C; it stops at the depth that the kernel allows."""
    own = len(types.types) + 1
    types.struct("s", 16, ("a", own, 0), ("b", own, 64))
    with pytest.raises(ValueError, match=f"type {own} is nested more than {MAX_DEPTH} deep"):
        types.value(own, 16)
    types.array(own + 1, 2)
    with pytest.raises(ValueError, match=f"type {own + 1} is nested more than {MAX_DEPTH} deep"):
        types.value(own + 1, 16)


def test_sizes_must_agree(types):
    """BTF whose size differs from the map's, or with members beyond it, is refused."""
    with pytest.raises(ValueError, match="BTF says 8 bytes of the value, the map 16"):
        shape_of(Btf(types.bytes()), types.u32, types.u64, 4, 16)
    record = types.struct("r", 8, ("a", types.u64, 32))
    with pytest.raises(ValueError, match="BTF says a ends at bit 96 of 64"):
        types.value(record, 8)
    with pytest.raises(ValueError, match="has a VOID where a value must be"):
        types.value(types.struct("r", 8, ("a", 0, 0)), 8)
    with pytest.raises(ValueError, match="a bit-field of 40 bits, a, of another type"):
        types.value(types.struct("r", 8, ("a", types.u32, 0, 40)), 8)


@settings(deadline=None)  # a busy machine is not a bug
@given(st.data())
def test_a_damaged_blob_raises_only_value_errors(data):
    """Any bytes of valid BTF changed: a shape whose parts are within the sizes, or ValueError."""
    types = Types()
    inner = types.struct("in", 8, ("x", types.u32, 0), ("y", types.be32, 32))
    union = types.union("", 8, ("a", types.u64), ("b", inner))
    record = types.struct(
        "r", 80, ("u", union, 0), ("q", types.array(inner, 8), 64), ("f", types.u64, 576, 3)
    )
    blob = bytearray(types.bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(24, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        shape = shape_of(Btf(bytes(blob)), record, record, 80, 80)
        assert all(0 <= part.bit_offset <= part.bit_offset + part.bits <= 640 for part in shape.value)
