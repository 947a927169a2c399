# SPDX-License-Identifier: Apache-2.0
"""How a part of a map's key is said in an attribute (pure, but for the lookup of an interface's name)."""

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sidecar.describe.shape import Encoding, Part
from sidecar.describe.suggest import nearest
from sidecar.errors import ConfigError

Value = str | int | bool
Decode = Callable[[bytes], Value]
"""From a key's raw bytes to an attribute's value."""

NameOf = Callable[[int], str]
"""From a number to its name; raise OSError if it has none."""

LARGEST_ATTRIBUTE = (1 << 63) - 1
"""An integer attribute of OTLP is an int64; a larger number is said in text."""

MERGING = frozenset({"string", "bool", "table", "ifname"})
"""The decoders that may say two values alike, for those who ask for it; the others never do."""

# An array of six chars that is called so: if_ether.h has `unsigned char h_source[ETH_ALEN]`.
_MAC = re.compile(r"(^|[._])(h_source|h_dest|[a-z]*addr|[sd]?mac|eth)([._]|$)")
# What no text has, for ever the same in Unicode: the control characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# include/uapi/linux/bpf.h, enum xdp_action
XDP_ACTIONS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}

# IANA, "Assigned Internet Protocol Numbers": those that meet XDP programs, by their keyword in lower case.
PROTOCOLS = {
    0: "hopopt",
    1: "icmp",
    2: "igmp",
    4: "ipv4",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    43: "ipv6-route",
    44: "ipv6-frag",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    59: "ipv6-nonxt",
    60: "ipv6-opts",
    88: "eigrp",
    89: "ospfigp",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
    137: "mpls-in-ip",
    143: "ethernet",
}


@dataclass(frozen=True)
class Settings:
    """What a decoder needs besides the bytes: the table of `table`, the interface names of `ifname`."""

    table: Mapping[int, str]
    name_of: NameOf


@dataclass(frozen=True)
class Decoder:
    """
    One way to say bytes.

    Attributes:
        bits: Widths that it can read; empty: up to 64 bits if *whole_bytes* is false, any if it is true.
        whole_bytes: Whether it takes bytes as they lie; a number is read otherwise.
        build: Makes the function for one part.

    """

    bits: tuple[int, ...]
    whole_bytes: bool
    build: Callable[[Part, Settings], Decode]


def bind(
    name: str, part: Part, table: Mapping[int, str] | None = None, name_of: NameOf | None = None
) -> Decode:
    """
    Return the function that says *part* of a key, given the key's raw bytes.

    Args:
        name: Of a decoder; empty: the one that the part's type suggests.
        part: Where the bytes are.
        table: For the decoder `table`.
        name_of: Interface names by index; by default those of our network namespace.

    Raises:
        ConfigError: No decoder has that name, or it cannot read bytes like these.

    """
    chosen = name or default_for(part)
    if chosen not in DECODERS:
        raise ConfigError(f"use decoder {name!r}", "unknown", nearest(name, DECODERS))
    wrong = _misfit(DECODERS[chosen], part)
    if wrong:
        fitting = [one for one, decoder in DECODERS.items() if not _misfit(decoder, part)]
        raise ConfigError(
            f"use decoder {chosen} for {part.name} ({part.type})",
            wrong,
            f"use one of {', '.join(fitting)}" if fitting else "leave it out",
        )
    if chosen == "enum" and not part.names:
        raise ConfigError(
            f"use decoder enum for {part.name} ({part.type})",
            "BTF has no names for it",
            "use integer or table",
        )
    return DECODERS[chosen].build(part, Settings(table or {}, name_of or socket.if_indextoname))


def default_for(part: Part) -> str:
    """Return the decoder that a part's type suggests."""
    if part.type == "struct in_addr":
        return "ipv4"
    if part.type == "struct in6_addr":
        return "ipv6"
    if part.encoding is Encoding.STRING:
        return "mac" if part.bits == 48 and _MAC.search(part.name.lower()) else "text"
    if part.bits > 64:
        return "hex"
    by_encoding = {
        Encoding.ENUM: "enum" if part.names else "integer",
        Encoding.BOOL: "bool",
        Encoding.UNSIGNED: "integer_be" if part.big_endian else "integer",
        Encoding.SIGNED: "integer_be" if part.big_endian else "integer",
    }
    return by_encoding.get(part.encoding, "hex")


def _misfit(decoder: Decoder, part: Part) -> str:
    """Return why a decoder cannot read a part, or nothing."""
    if not part.bits:
        return "it has no bytes"
    if decoder.bits and part.bits not in decoder.bits:
        wanted = " or ".join(f"{bits // 8}" for bits in decoder.bits)
        return f"it wants {wanted} bytes, and there are {part.bits / 8:g}"
    if decoder.whole_bytes and (part.bits % 8 or part.bit_offset % 8):
        return "it wants whole bytes, and this is a bit-field"
    if not decoder.whole_bytes and part.bits > 64:
        return f"it wants at most 8 bytes, and there are {part.bits // 8}"
    return ""


def number_reader(part: Part, *, big_endian: bool) -> Callable[[bytes], int]:
    """Return the function that reads a part as a number: in two's complement if the part is signed."""
    first, shift = divmod(part.bit_offset, 8)
    last = first + (shift + part.bits + 7) // 8
    order: Literal["little", "big"] = "big" if big_endian else sys.byteorder
    if order == "big":
        # BTF counts bits from the most significant one there.
        shift = 8 * (last - first) - shift - part.bits
    mask, sign = (1 << part.bits) - 1, 1 << (part.bits - 1)
    signed = part.encoding is Encoding.SIGNED or any(number < 0 for number in part.names)

    def read(raw: bytes) -> int:
        number = int.from_bytes(raw[first:last], order) >> shift & mask
        return number - (sign << 1) if signed and number & sign else number

    if shift == 0 and part.bits == 8 * (last - first) and not signed:
        return lambda raw: int.from_bytes(raw[first:last], order)
    return read


def _bytes_reader(part: Part) -> Callable[[bytes], bytes]:
    first = part.bit_offset // 8
    last = first + part.bits // 8
    return lambda raw: raw[first:last]


def _integer(part: Part, *, big_endian: bool) -> Decode:
    read = number_reader(part, big_endian=big_endian)
    if part.bits < 64:
        return read

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return number if number <= LARGEST_ATTRIBUTE else str(number)

    return decode


def _named(part: Part, names: Mapping[int, str]) -> Decode:
    """Say a number by its name, and one that has none in digits: text in any case."""
    read = number_reader(part, big_endian=part.big_endian)

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return names.get(number) or str(number)

    return decode


def _ifname(part: Part, name_of: NameOf) -> Decode:
    """Say an interface by the name that it had when it was first seen: a series keeps its name."""
    read = number_reader(part, big_endian=part.big_endian)
    seen: dict[int, str] = {}

    def decode(raw: bytes) -> Value:
        index = read(raw)
        if index not in seen:
            try:
                seen[index] = _string(os.fsencode(name_of(index)))
            except (OSError, OverflowError):  # gone, or no index that an interface can have
                return str(index)
        return seen[index]

    return decode


def _by_bytes(say: Callable[[bytes], Value]) -> Callable[[Part, Settings], Decode]:
    def build(part: Part, _: Settings) -> Decode:
        read = _bytes_reader(part)
        return lambda raw: say(read(raw))

    return build


def _text(raw: bytes) -> str:
    """
    Return text that fills the bytes up to NULs at their end, and any other bytes whole, as `0x…`.

    So two values are never said alike: `0x…` is longer than any text of as many bytes.
    """
    try:
        said = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"
    return f"0x{raw.hex()}" if _CONTROL.search(said) else said


def _string(raw: bytes) -> str:
    r"""Return text up to the first NUL, whatever is behind it; what is not UTF-8 as `\xff`."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


DECODERS: Mapping[str, Decoder] = {
    "integer": Decoder((), False, lambda part, _: _integer(part, big_endian=False)),
    "integer_be": Decoder((), False, lambda part, _: _integer(part, big_endian=True)),
    "bool": Decoder((), False, lambda part, _: _truth(part)),
    "enum": Decoder((), False, lambda part, _: _named(part, part.names)),
    "ifname": Decoder((), False, lambda part, given: _ifname(part, given.name_of)),
    "ipv4": Decoder((32,), True, _by_bytes(lambda raw: socket.inet_ntop(socket.AF_INET, raw))),
    "ipv6": Decoder((128,), True, _by_bytes(lambda raw: socket.inet_ntop(socket.AF_INET6, raw))),
    "mac": Decoder((48,), True, _by_bytes(lambda raw: raw.hex(":"))),
    "port": Decoder((16,), True, _by_bytes(lambda raw: int.from_bytes(raw, "big"))),
    "protocol": Decoder((), False, lambda part, _: _named(part, PROTOCOLS)),
    "xdp_action": Decoder((), False, lambda part, _: _named(part, XDP_ACTIONS)),
    "text": Decoder((), True, _by_bytes(_text)),
    "string": Decoder((), True, _by_bytes(_string)),
    "hex": Decoder((), True, _by_bytes(bytes.hex)),
    "table": Decoder((), False, lambda part, given: _named(part, given.table)),
}
"""The decoders by name."""


def _truth(part: Part) -> Decode:
    """Say whether it is another number than 0; of a C bool, which is 0 or 1, any other by its digits."""
    read = number_reader(part, big_endian=False)
    if part.encoding is not Encoding.BOOL:
        return lambda raw: read(raw) != 0

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return bool(number) if number in (0, 1) else str(number)

    return decode
