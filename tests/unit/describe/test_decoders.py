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
    """As Python's ipaddress formats it, whatever bytes precede it."""
    assert bind("ipv4", part(32, at=16))(b"ab" + raw) == str(ipaddress.IPv4Address(raw))


@given(st.binary(min_size=16, max_size=16))
def test_ipv6_text_parses_to_the_same_address(raw):
    """RFC 5952 text of the sixteen bytes."""
    assert ipaddress.IPv6Address(bind("ipv6", part(128, Encoding.BYTES))(raw)).packed == raw


@given(st.integers(0, 2**16 - 1))
def test_a_port_is_in_network_order(port):
    """Whatever the byte order of the machine."""
    assert bind("port", part(16))(struct.pack(">H", port)) == port


def test_a_mac_has_colons():
    """Six bytes, lower case."""
    assert bind("mac", part(48, Encoding.BYTES))(bytes.fromhex("02aabbcc0001")) == "02:aa:bb:cc:00:01"


@given(st.binary(min_size=4, max_size=4))
def test_an_address_in_host_order_is_dotted(raw):
    """After `bpf_ntohl`, whatever the type that declares it."""
    host = struct.pack("=I", int.from_bytes(raw, "big"))

    for field in (part(32), part(32, big_endian=True), part(32, Encoding.SIGNED)):
        assert bind("ipv4_host", field)(host) == str(ipaddress.IPv4Address(raw))


@given(
    st.binary(min_size=16, max_size=16)
    | st.binary(min_size=4, max_size=4).map((bytes(10) + b"\xff\xff").__add__)
)
def test_an_ipv4_mapped_address_is_shown_as_ipv4_if_asked(raw):
    """By `ip`, which also takes 4 bytes; `ipv6` shows it as it is."""
    address = ipaddress.IPv6Address(raw)

    assert bind("ip", part(128, Encoding.BYTES))(raw) == str(address.ipv4_mapped or ipaddress.ip_address(raw))
    assert ipaddress.IPv6Address(bind("ipv6", part(128, Encoding.BYTES))(raw)) == address
    assert bind("ip", part(32))(raw[12:]) == str(ipaddress.IPv4Address(raw[12:]))


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_in_a_u64_is_copied_or_a_number(raw):
    """`memcpy` leaves its bytes first; as a number its first byte is the most significant."""
    text = raw.hex(":")

    assert bind("mac", part(64))(raw + bytes(2)) == text
    assert bind("mac_host", part(64))(struct.pack("=Q", int.from_bytes(raw, "big"))) == text
    assert bind("mac", part(64))(raw + b"\0\1") == f"{text}:00:01"
    assert bind("mac_host", part(64))(struct.pack("=Q", 2**48)) == "00:01:00:00:00:00:00:00"


@given(st.sampled_from("BHIQbhiq"), st.data())
def test_integers_are_read_in_host_or_network_order(code, data):
    """Any width, signed or not; numbers beyond OTLP's int64 are text."""
    width, signed = 8 * struct.calcsize(code), code.islower()
    number = data.draw(
        st.integers(-(2 ** (width - 1)) if signed else 0, 2 ** (width - signed) - 1), label="number"
    )
    field = part(width, Encoding.SIGNED if signed else Encoding.UNSIGNED)

    expected = number if number < 2**63 else str(number)
    assert bind("integer", field)(struct.pack(f"={code}", number)) == expected
    assert bind("integer_be", field)(struct.pack(f">{code}", number)) == expected


class Bits(ctypes.Structure):
    _fields_ = (
        ("a", ctypes.c_uint32, 3),
        ("b", ctypes.c_uint32, 11),
        ("c", ctypes.c_int32, 5),
        ("d", ctypes.c_uint32, 13),
    )


@pytest.mark.skipif(sys.byteorder != "little", reason="offsets of a little-endian machine")
@given(st.integers(0, 7), st.integers(0, 2047), st.integers(-16, 15), st.integers(0, 8191))
def test_bit_fields_are_read_as_the_compiler_writes_them(a, b, c, d):
    """At their bit offset and width, signed ones too."""
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
    """BTF counts bits from the most significant field on a big-endian machine."""
    assert bind("integer_be", part(4, at=4))(b"\xa7") == 7
    assert bind("integer_be", part(4))(b"\xa7") == 10


def test_a_number_without_a_name_becomes_digits():
    """It is text all the same, so that an attribute has one type."""
    enum = part(32, Encoding.ENUM, "enum verdict", names={1: "DENY", -1: "NONE"})
    raw = [struct.pack("=i", number) for number in (1, -1, 7)]

    assert [bind("enum", enum)(field) for field in raw] == ["DENY", "NONE", "7"]
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


def test_a_table_reads_big_endian_parts_in_network_order():
    """An EtherType in network order is looked up by its number."""
    ethertype = part(16, kind="__be16", big_endian=True)

    assert bind("table", ethertype, {0x0800: "ipv4"})(b"\x08\x00") == "ipv4"


def test_an_interface_keeps_the_name_it_was_first_seen_with():
    """A series keeps its attributes when the interface is renamed or removed; unknown indexes are digits."""
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


def test_an_interface_name_that_is_not_utf_8_is_escaped():
    """The kernel accepts nearly any bytes as a name; OTLP does not."""
    decode = bind("ifname", part(32), name_of=lambda _: "\udcff\udcfe0")

    assert decode(struct.pack("=I", 7)) == r"\xff\xfe0"


def test_interface_names_come_from_the_system():
    """Index 1 is lo; 0 and 2^63 are no interface."""
    assert bind("ifname", part(32))(struct.pack("=I", 1)) == "lo"
    assert bind("ifname", part(64))(struct.pack("=Q", 0)) == "0"
    assert bind("ifname", part(64))(struct.pack("=Q", 2**63)) == str(2**63)


TEXT = part(64, Encoding.STRING, "char[8]")


def test_string_ends_at_the_first_nul():
    """Bytes that are not UTF-8 are escaped: OTLP carries only UTF-8."""
    assert bind("string", TEXT)(b"eth0\0abc") == "eth0"
    assert bind("string", TEXT)(b"12345678") == "12345678"
    assert bind("string", TEXT)(b"\xff\xc3\xa9\0\0\0\0\0") == "\\xffé"


def test_chars_that_are_not_text_become_hex():
    """An address, bytes after a NUL, control characters: all bytes in hex; any other text as it is."""
    assert bind("", TEXT)(b"eth0\0\0\0\0") == "eth0"
    assert bind("", TEXT)(b"12345678") == "12345678"
    assert bind("", TEXT)(b"caf\xc3\xa9\\x\0") == "café\\x"
    assert bind("", TEXT)(bytes(8)) == ""
    assert bind("", TEXT)(b"eth0\0\0\0x") == "0x6574683000000078"
    assert bind("", TEXT)(b"RT\0\x12\x34\x56\0\0") == "0x5254001234560000"
    assert bind("", TEXT)(b"a\nb\0\0\0\0\0") == "0x610a620000000000"
    assert bind("", TEXT)(b"\xff1234567") == "0xff31323334353637"
    assert bind("", TEXT)("0x\x85".encode() + bytes(4)) == "0x3078c28500000000"


DEFAULTS = (
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
# Often equal, NULs anywhere, and bytes that look like another notation of the same value.
some_bytes = st.sampled_from([0, 1, 2, ord("0"), ord("x"), ord("\\"), 0x80, 0xC2, 0xFF])
keys = st.one_of(st.binary(min_size=8, max_size=8), st.lists(some_bytes, min_size=8, max_size=8).map(bytes))


@pytest.mark.parametrize("field", DEFAULTS, ids=lambda field: field.type)
@given(keys, keys)
def test_default_decoders_never_merge_two_values(field, raw, other):
    """Neither in OTLP nor in Prometheus, where 5 and "5" are the same."""
    decode, size = bind("", field), field.bits // 8
    same = raw[:size] == other[:size]

    assert (prometheus_names.value(decode(raw)) == prometheus_names.value(decode(other))) is same


def test_a_mac_address_in_chars_is_recognized_by_its_name():
    """`char h_source[6]`, as in some headers."""
    for name in ("mac", "key.h_dest", "tx_mac", "lladdr"):
        assert default_for(Part(name, 0, 48, Encoding.STRING, "char[6]")) == "mac"
    assert default_for(Part("machine", 0, 48, Encoding.STRING, "char[6]")) == "text"
    assert default_for(Part("addr", 0, 128, Encoding.STRING, "char[16]")) == "text"


@given(st.binary(min_size=8, max_size=8))
def test_text_can_always_be_encoded(raw):
    """Any bytes give text that UTF-8 can encode."""
    bind("string", part(64, Encoding.STRING, "char[8]"))(raw).encode()


@pytest.mark.parametrize(
    ("field", "decoder"),
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
def test_each_type_has_a_default_decoder(field, decoder):
    """It fits the meaning of the C type, and can read it."""
    assert default_for(field) == decoder
    bind("", field)(bytes(16))


def test_booleans_are_true_or_false():
    """`bool` maps any number but 0 to true; by default a C bool that is neither 0 nor 1 becomes digits."""
    assert [bind("", part(8, Encoding.BOOL))(bytes([number])) for number in (0, 1, 2)] == [False, True, "2"]
    assert [bind("bool", part(8))(bytes([number])) for number in (0, 1, 2)] == [False, True, True]


@pytest.mark.parametrize(
    ("decoder", "field", "message"),
    [
        ("ipv4", part(128), "it needs 4 bytes, the field has 16"),
        ("ipv6", part(32), "it needs 16 bytes, the field has 4"),
        ("mac", part(32), "it needs 6 or 8 bytes, the field has 4"),
        ("port", part(32), "it needs 2 bytes, the field has 4"),
        (
            "integer",
            part(128, Encoding.BYTES),
            "at most 8 bytes, the field has 16: use one of ipv6, ip, text, string, hex",
        ),
        ("hex", part(3, at=1), "it needs whole bytes, the field is a bit-field"),
        ("hex", part(0), "the field is empty: leave it out"),
        ("enum", part(32), "BTF has no names for it"),
        ("ipv44", part(32), "unknown: did you mean 'ipv4'"),
    ],
)
def test_a_decoder_that_cannot_read_a_part_is_refused(decoder, field, message):
    """The error has the widths and names the decoders that can read it."""
    with pytest.raises(ConfigError, match=message):
        bind(decoder, field)


def test_the_schema_lists_the_decoders():
    """The JSON schema for editors has exactly the decoders of the code."""
    schema = json.loads((Path(__file__).parents[3] / "sidecar/config.schema.json").read_text())

    listed = schema["definitions"]["key"]["items"]["properties"]["decoder"]["enum"]
    assert sorted(listed) == sorted(DECODERS)
