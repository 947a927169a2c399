# SPDX-License-Identifier: Apache-2.0
import ctypes
import ipaddress
import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.describe import prometheus_names
from sidecar.describe.decoders import DECODERS, bind, default_for
from sidecar.describe.shape import Encoding, Part
from sidecar.errors import ConfigError


def part(bits, encoding=Encoding.UNSIGNED, kind="__u32", at=0, **more):
    """A part of a key."""
    return Part("saddr", at, bits, encoding, kind, **more)


def gone(index):
    """No interface has that index."""
    raise OSError


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_is_dotted_in_network_order(raw):
    """As Python's own ipaddress says it, whatever bytes precede it."""
    assert bind("ipv4", part(32, at=16))(b"ab" + raw) == str(ipaddress.IPv4Address(raw))


@given(st.binary(min_size=16, max_size=16))
def test_ipv6_is_read_back_as_the_same_address(raw):
    """RFC 5952 text of the sixteen bytes."""
    assert ipaddress.IPv6Address(bind("ipv6", part(128, Encoding.BYTES))(raw)).packed == raw


@given(st.integers(0, 2**16 - 1))
def test_a_port_is_in_network_order(port):
    """Whatever the machine's order."""
    assert bind("port", part(16))(struct.pack(">H", port)) == port


def test_a_mac_has_colons():
    """Six bytes, lower case."""
    assert bind("mac", part(48, Encoding.BYTES))(bytes.fromhex("02aabbcc0001")) == "02:aa:bb:cc:00:01"


@given(st.sampled_from("BHIQbhiq"), st.data())
def test_integers_are_read_in_the_machines_order_or_in_the_networks(code, data):
    """Of any width, signed or not; beyond OTLP's int64 they are text."""
    width, signed = 8 * struct.calcsize(code), code.islower()
    number = data.draw(
        st.integers(-(2 ** (width - 1)) if signed else 0, 2 ** (width - signed) - 1), label="number"
    )
    one = part(width, Encoding.SIGNED if signed else Encoding.UNSIGNED)

    expected = number if number < 2**63 else str(number)
    assert bind("integer", one)(struct.pack(f"={code}", number)) == expected
    assert bind("integer_be", one)(struct.pack(f">{code}", number)) == expected


class Bits(ctypes.Structure):
    _fields_ = (
        ("a", ctypes.c_uint32, 3),
        ("b", ctypes.c_uint32, 11),
        ("c", ctypes.c_int32, 5),
        ("d", ctypes.c_uint32, 13),
    )


@pytest.mark.skipif(sys.byteorder != "little", reason="places as on a little-endian machine")
@given(st.integers(0, 7), st.integers(0, 2047), st.integers(-16, 15), st.integers(0, 8191))
def test_bit_fields_are_read_as_the_compiler_wrote_them(a, b, c, d):
    """By bit offset and width, signed ones too."""
    raw = bytes(Bits(a, b, c, d))

    read = [
        bind("", part(bits, encoding, at=at))(raw)
        for at, bits, encoding in (
            (0, 3, Encoding.UNSIGNED),
            (3, 11, Encoding.UNSIGNED),
            (14, 5, Encoding.SIGNED),
            (19, 13, Encoding.UNSIGNED),
        )
    ]

    assert read == [a, b, c, d]


def test_bit_fields_of_a_big_endian_number_count_from_the_top():
    """BTF counts bits from the most significant one on a big-endian machine."""
    assert bind("integer_be", part(4, at=4))(b"\xa7") == 7
    assert bind("integer_be", part(4))(b"\xa7") == 10


def test_named_numbers_fall_back_to_digits():
    """A number without a name stays text, so that an attribute has one type."""
    enum = part(32, Encoding.ENUM, "enum verdict", names={1: "DENY", -1: "NONE"})
    raw = [struct.pack("=i", number) for number in (1, -1, 7)]

    assert [bind("enum", enum)(one) for one in raw] == ["DENY", "NONE", "7"]
    assert [bind("protocol", part(8))(bytes([number])) for number in (1, 6, 17, 58, 132, 254)] == [
        "icmp",
        "tcp",
        "udp",
        "ipv6-icmp",
        "sctp",
        "254",
    ]
    assert [bind("xdp_action", part(32))(struct.pack("=I", number)) for number in range(6)] == [
        "aborted",
        "drop",
        "pass",
        "tx",
        "redirect",
        "5",
    ]
    assert [bind("table", part(8), {6: "six"})(bytes([number])) for number in (6, 7)] == ["six", "7"]


def test_a_table_reads_big_endian_parts_in_their_order():
    """An EtherType in network order is looked up by its number."""
    ethertype = part(16, kind="__be16", big_endian=True)

    assert bind("table", ethertype, {0x0800: "ipv4"})(b"\x08\x00") == "ipv4"


def test_an_interface_keeps_the_name_it_was_first_seen_with():
    """A series does not change its name when the interface is renamed or removed; unseen ones are numbers."""
    names = {7: "eth0"}

    def name_of(index):
        return names[index] if index in names else gone(index)

    decode = bind("ifname", part(32), name_of=name_of)
    seven, eight = struct.pack("=I", 7), struct.pack("=I", 8)

    assert (decode(seven), decode(eight)) == ("eth0", "8")
    names.clear()
    assert decode(seven) == "eth0"
    names[8] = "eth1"
    assert decode(eight) == "eth1"


def test_an_interface_whose_name_is_no_text_is_named_by_its_bytes():
    """The kernel takes nearly any bytes for a name; OTLP does not."""
    decode = bind("ifname", part(32), name_of=lambda _: "\udcff\udcfe0")

    assert decode(struct.pack("=I", 7)) == r"\xff\xfe0"


def test_interface_names_are_the_systems_own():
    """Index 1 is lo; 0 and 2^63 are nobody's."""
    assert bind("ifname", part(32))(struct.pack("=I", 1)) == "lo"
    assert bind("ifname", part(64))(struct.pack("=Q", 0)) == "0"
    assert bind("ifname", part(64))(struct.pack("=Q", 2**63)) == str(2**63)


TEXT = part(64, Encoding.STRING, "char[8]")


def test_text_ends_at_its_first_nul_for_who_asks_for_it():
    """What is no UTF-8 is escaped: OTLP carries only that."""
    assert bind("string", TEXT)(b"eth0\0abc") == "eth0"
    assert bind("string", TEXT)(b"12345678") == "12345678"
    assert bind("string", TEXT)(b"\xff\xc3\xa9\0\0\0\0\0") == "\\xffé"


def test_chars_that_are_no_text_are_said_whole():
    """An address, rubbish behind a NUL, control characters: as bytes; any other text as it is."""
    assert bind("", TEXT)(b"eth0\0\0\0\0") == "eth0"
    assert bind("", TEXT)(b"12345678") == "12345678"
    assert bind("", TEXT)(b"caf\xc3\xa9\\x\0") == "café\\x"
    assert bind("", TEXT)(bytes(8)) == ""
    assert bind("", TEXT)(b"eth0\0\0\0x") == "0x6574683000000078"
    assert bind("", TEXT)(b"RT\0\x12\x34\x56\0\0") == "0x5254001234560000"
    assert bind("", TEXT)(b"a\nb\0\0\0\0\0") == "0x610a620000000000"
    assert bind("", TEXT)(b"\xff1234567") == "0xff31323334353637"
    assert bind("", TEXT)("0x\x85".encode() + bytes(4)) == "0x3078c28500000000"


UNASKED = (
    part(64, Encoding.STRING, "char[8]"),
    part(48, Encoding.STRING, "char[6]"),
    part(64, Encoding.BYTES, "__u8[8]"),
    part(64, Encoding.SIGNED, "__s64"),
    part(64),
    part(32, big_endian=True),
    part(8, Encoding.BOOL, "_Bool"),
    part(8, Encoding.ENUM, "enum x", names={1: "ONE", 200: "TWO", 3: "THREE"}),
    part(64, Encoding.POINTER, "void *"),
    part(32, Encoding.BYTES, "struct in_addr"),
)
# Often alike, NULs in any place, what looks like another form of the same.
some_bytes = st.sampled_from([0, 1, 2, ord("0"), ord("x"), ord("\\"), 0x80, 0xC2, 0xFF])
keys = st.one_of(st.binary(min_size=8, max_size=8), st.lists(some_bytes, min_size=8, max_size=8).map(bytes))


@pytest.mark.parametrize("one", UNASKED, ids=lambda one: one.type)
@given(keys, keys)
def test_no_two_values_are_said_alike_unless_asked_for(one, raw, other):
    """Not by OTLP, and not by Prometheus, for which 5 and "5" are one."""
    decode, size = bind("", one), one.bits // 8
    same = raw[:size] == other[:size]

    assert (prometheus_names.value(decode(raw)) == prometheus_names.value(decode(other))) is same


def test_a_mac_address_in_chars_is_known_by_its_name():
    """`char h_source[6]`, as some headers have it."""
    for name in ("mac", "key.h_dest", "tx_mac", "lladdr"):
        assert default_for(Part(name, 0, 48, Encoding.STRING, "char[6]")) == "mac"
    assert default_for(Part("machine", 0, 48, Encoding.STRING, "char[6]")) == "text"
    assert default_for(Part("addr", 0, 128, Encoding.STRING, "char[16]")) == "text"


@given(st.binary(min_size=8, max_size=8))
def test_text_can_always_be_encoded(raw):
    """Any bytes give text that UTF-8 can carry."""
    bind("string", part(64, Encoding.STRING, "char[8]"))(raw).encode()


@pytest.mark.parametrize(
    ("one", "decoder"),
    [
        (part(32), "integer"),
        (part(32, Encoding.SIGNED), "integer"),
        (part(32, big_endian=True), "integer_be"),
        (part(32, Encoding.BYTES, "struct in_addr"), "ipv4"),
        (part(128, Encoding.BYTES, "struct in6_addr"), "ipv6"),
        (part(48, Encoding.BYTES, "__u8[6]"), "hex"),
        (part(128, Encoding.STRING, "char[16]"), "text"),
        (part(8, Encoding.BOOL, "_Bool"), "bool"),
        (part(32, Encoding.ENUM, names={0: "A"}), "enum"),
        (part(32, Encoding.ENUM), "integer"),
        (part(64, Encoding.POINTER, "void *"), "hex"),
        (part(128, Encoding.OTHER, "struct x"), "hex"),
    ],
)
def test_the_type_suggests_a_decoder(one, decoder):
    """What is not configured is said as its C type is meant, and that decoder can read it."""
    assert default_for(one) == decoder
    bind("", one)(bytes(16))


def test_booleans_are_true_or_false():
    """Any number but zero is true, if that is asked for; a C bool that is neither is said as it is."""
    assert [bind("", part(8, Encoding.BOOL))(bytes([number])) for number in (0, 1, 2)] == [False, True, "2"]
    assert [bind("bool", part(8))(bytes([number])) for number in (0, 1, 2)] == [False, True, True]


@pytest.mark.parametrize(
    ("decoder", "one", "said"),
    [
        ("ipv4", part(128), "it wants 4 bytes, and there are 16"),
        ("ipv6", part(32), "it wants 16 bytes, and there are 4"),
        ("mac", part(64), "it wants 6 bytes, and there are 8"),
        ("port", part(32), "it wants 2 bytes, and there are 4"),
        (
            "integer",
            part(128, Encoding.BYTES),
            "at most 8 bytes, and there are 16: use one of ipv6, text, string, hex",
        ),
        ("hex", part(3, at=1), "it wants whole bytes, and this is a bit-field"),
        ("hex", part(0), "it has no bytes: leave it out"),
        ("enum", part(32), "BTF has no names for it"),
        ("ipv44", part(32), "unknown: did you mean 'ipv4'"),
    ],
)
def test_a_decoder_that_cannot_read_a_part_is_refused(decoder, one, said):
    """By width, with the decoders that could."""
    with pytest.raises(ConfigError, match=said):
        bind(decoder, one)


def test_the_schema_lists_the_decoders():
    """The editors' schema knows exactly the decoders that there are."""
    schema = json.loads((Path(__file__).parents[3] / "sidecar/config.schema.json").read_text())

    listed = schema["definitions"]["key"]["items"]["properties"]["decoder"]["enum"]
    assert sorted(listed) == sorted(DECODERS)
