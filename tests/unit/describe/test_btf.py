# SPDX-License-Identifier: Apache-2.0
import struct
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.describe.btf import MAX_DEPTH, Btf, BtfKind, BtfMember
from tests.unit.describe.btf_blob import BOOL, CHAR, SIGNED, Blob


def every_kind():
    """A blob with a type of each kind; its id is the number of the kind."""
    blob = Blob()
    blob.int("int", 4, SIGNED)
    blob.add(BtfKind.PTR, size=1)
    blob.array(1, 3)
    blob.struct("s", 8, ("a", 1, 0), ("b", 1, 32))
    blob.union("u", 4, ("a", 1), ("b", 1))
    blob.enum("e", 4, [("minus", -1), ("one", 1), ("uno", 1)], signed=True)
    blob.add(BtfKind.FWD, "later")
    blob.typedef("number", 1)
    blob.add(BtfKind.VOLATILE, size=1)
    blob.add(BtfKind.CONST, size=9)
    blob.add(BtfKind.RESTRICT, size=2)
    blob.add(BtfKind.FUNC, "f", 13)
    blob.add(BtfKind.FUNC_PROTO, size=1, vlen=1, tail=struct.pack("=II", 0, 1))
    blob.add(BtfKind.VAR, "counter", 10, tail=struct.pack("=I", 0))
    blob.add(BtfKind.DATASEC, ".bss", 12, vlen=1, tail=struct.pack("=III", 14, 8, 4))
    blob.add(BtfKind.FLOAT, "double", 8)
    blob.add(BtfKind.DECL_TAG, "tag", 4, tail=struct.pack("=i", -1))
    blob.add(BtfKind.TYPE_TAG, "kptr", 8)
    blob.enum("wide", 8, [("low", -(1 << 40)), ("high", (1 << 40) + 1)], signed=True, wide=True)
    return blob


def test_types_of_each_kind_are_indexed():
    """The length of each kind, 1 to 19, is right, so that the next type is found."""
    btf = Btf(every_kind().bytes())
    assert [btf.type(number).kind for number in range(len(btf) + 1)] == list(BtfKind)


def test_types_of_each_kind_are_decoded():
    """Sizes, members, variables and enumerators, negative and 64-bit ones too."""
    btf = Btf(every_kind().bytes())
    assert (btf.type(1).size, btf.type(1).signed, btf.type(1).bits) == (4, True, 32)
    assert (btf.type(2).size, btf.type(2).target) == (8, 1)
    assert (btf.type(3).target, btf.type(3).count) == (1, 3)
    assert btf.type(4).members == (BtfMember("a", 1, 0), BtfMember("b", 1, 32))
    assert btf.type(5).members == (BtfMember("a", 1, 0), BtfMember("b", 1, 0))
    assert btf.type(6).names == {-1: "minus", 1: "one"}
    assert btf.type(15).members == (BtfMember("counter", 10, 64),)
    assert btf.type(16).size == 8
    assert btf.type(19).names == {-(1 << 40): "low", (1 << 40) + 1: "high"}


def test_unsigned_enums_have_no_negative_numbers():
    """Without the kind's flag, enumerators are unsigned, 32 or 64 bits wide."""
    blob = Blob()
    blob.enum("e", 4, [("all", 0xFFFFFFFF)])
    blob.enum("w", 8, [("all", (1 << 64) - 1)], wide=True)
    btf = Btf(blob.bytes())
    assert btf.type(1).names == {0xFFFFFFFF: "all"}
    assert btf.type(2).names == {(1 << 64) - 1: "all"}


def test_members_of_a_struct_with_bit_fields():
    """With the kind's flag, a member's word holds the width above 24 bits of offset."""
    blob = Blob()
    number = blob.int("unsigned int", 4)
    blob.struct("s", 8, ("a", number, 0, 3), ("b", number, 3, 29), ("c", number, 32, 0))
    assert Btf(blob.bytes()).type(2).members == (
        BtfMember("a", number, 0, 3),
        BtfMember("b", number, 3, 29),
        BtfMember("c", number, 32, 0),
    )


@pytest.mark.parametrize(
    ("name", "size", "flags", "char", "boolean"),
    [
        ("char", 1, SIGNED, True, False),
        ("char", 1, 0, True, False),
        ("unsigned char", 1, 0, False, False),
        ("u8", 1, CHAR, True, False),
        ("_Bool", 1, BOOL, False, True),
        ("char", 4, 0, False, False),
    ],
)
def test_char_and_bool(name, size, flags, char, boolean):
    """A char is recognized by its name or its encoding, a bool by its encoding."""
    blob = Blob()
    blob.int(name, size, flags)
    decoded = Btf(blob.bytes()).type(1)
    assert (decoded.char, decoded.boolean) == (char, boolean)


def test_peel_removes_typedefs_qualifiers_and_tags():
    """It returns the type behind them, and the typedefs from outside in."""
    blob = Blob()
    number = blob.int("unsigned int", 4)
    at = blob.typedef("inner", number)
    at = blob.add(BtfKind.CONST, size=at)
    at = blob.add(BtfKind.TYPE_TAG, "tag", at)
    at = blob.typedef("outer", at)
    at = blob.add(BtfKind.VOLATILE, size=blob.add(BtfKind.RESTRICT, size=at))
    btf = Btf(blob.bytes())
    assert btf.peel(at) == (btf.type(number), ("outer", "inner"))
    assert btf.peel(0) == (btf.type(0), ())


def test_a_cycle_of_references_is_refused():
    """Typedefs of each other are not followed without end."""
    blob = Blob()
    blob.typedef("a", 2)
    blob.typedef("b", 1)
    with pytest.raises(ValueError, match=f"behind more than {MAX_DEPTH} references"):
        Btf(blob.bytes()).peel(1)


def test_a_section_that_contains_itself_is_refused():
    """So is a section whose variable is void."""
    blob = Blob()
    blob.add(BtfKind.DATASEC, ".bss", 8, vlen=1, tail=struct.pack("=III", 1, 0, 8))
    blob.add(BtfKind.DATASEC, ".data", 8, vlen=1, tail=struct.pack("=III", 0, 0, 8))
    blob.add(BtfKind.VAR, "last", 1, tail=bytes(4))
    with pytest.raises(ValueError, match="type 1, of a section, is not a variable"):
        Btf(blob.bytes()).type(1)
    with pytest.raises(ValueError, match="no type 0"):
        Btf(blob.bytes()).type(2)


def test_a_longer_header_is_accepted():
    """Future kernels may extend the header: the sections follow it all the same."""
    blob = every_kind()
    assert Btf(blob.bytes(header=40)).type(8).name == "number"


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "ends within its header: 0 bytes"),
        (Blob().bytes(order="<" if sys.byteorder == "big" else ">"), "of the other byte order"),
        (Blob().bytes(magic=0x464C), "not BTF version 1: magic 0x464c, version 1"),
        (Blob().bytes(version=2), "not BTF version 1: magic 0xeb9f, version 2"),
        (struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 8, 0, 0, 0, 0), "header of 8 bytes"),
        (every_kind().bytes()[:60], "ends before its types"),
        (every_kind().bytes()[:-1], "ends before its names"),
        (struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 4, 4, 0) + b"\0" * 4, "within a record at byte 0"),
    ],
)
def test_a_blob_that_is_not_btf_is_refused(blob, message):
    """So is BTF of another byte order or version, with the cause."""
    with pytest.raises(ValueError, match=message):
        Btf(blob)


def test_damaged_types_are_refused():
    """Unknown kinds, names outside the blob, missing types and impossible integers."""
    blob = Blob()
    blob.add(20)
    with pytest.raises(ValueError, match="type 1 is of the unknown kind 20"):
        Btf(blob.bytes())
    blob = Blob()
    blob.int("wide", 4, bits=33)
    blob.types.append(struct.pack("=III", 1000, BtfKind.FLOAT << 24, 8))
    btf = Btf(blob.bytes())
    with pytest.raises(ValueError, match="integer wide has 33 bits at bit 0 of 4 bytes"):
        btf.type(1)
    with pytest.raises(ValueError, match="name at 1000 is outside the names"):
        btf.type(2)
    for number in (-1, 3):
        with pytest.raises(ValueError, match=f"no type {number}"):
            btf.type(number)
    blob = Blob()
    blob.add(BtfKind.STRUCT, vlen=0xFFFF)
    with pytest.raises(ValueError, match="within its last type"):
        Btf(blob.bytes())


def read_all(blob):
    with suppress(ValueError):
        btf = Btf(blob)
        for number in range(len(btf) + 2):
            with suppress(ValueError):
                btf.type(number)
            with suppress(ValueError):
                btf.peel(number)


@settings(deadline=None)  # a busy machine is not a bug
@given(st.binary(max_size=200))
def test_random_bytes_raise_only_value_errors(tail):
    """Even after a valid magic number and version."""
    read_all(tail)
    read_all(struct.pack("=HBBI", 0xEB9F, 1, 0, 24) + tail)


@settings(deadline=None)  # a busy machine is not a bug
@given(st.data())
def test_a_damaged_blob_raises_only_value_errors(data):
    """Any bytes of a valid blob changed, or its end cut off: a result or ValueError."""
    blob = bytearray(every_kind().bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(blob[: data.draw(st.integers(0, len(blob)))]))
    read_all(bytes(blob))
