# SPDX-License-Identifier: Apache-2.0
"""
From the bytes of a key to the value of an attribute (pure, but for the names of interfaces and cgroups).

A new decoder is one entry of `DECODERS`, and one of the enum in config.schema.json.
"""

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sidecar.describe.entry_error import entry_error
from sidecar.describe.prefixes import in_prefix_notation
from sidecar.describe.shape import Encoding, Part
from sidecar.kernel.cgroups import CgroupPaths
from sidecar.suggest import suggest

Value = str | int | bool
Decode = Callable[[bytes], Value]
"""From a key's raw bytes to an attribute's value."""

NameOf = Callable[[int], str]
"""From an interface's index to its name; raises OSError if there is no such interface."""

_LARGEST_INTEGER = (1 << 63) - 1
"""An integer attribute of OTLP is an int64; a larger number becomes text."""

MERGING = frozenset({"string", "bool", "table", "ifname", "cgroup"})
"""The decoders that may give two values the same text, if configured; the others never do."""

# Shown with the number of bits that count, `10.0.0.0/8`, even if all do.
_OF_PREFIXES = frozenset({"ipv4", "ipv6", "mac", "hex"})
_ADDRESSES = {32: "ipv4", 128: "ipv6"}

# Six chars under such a name are a MAC address: if_ether.h has `unsigned char h_source[ETH_ALEN]`.
_MAC = re.compile(r"(^|[._])(h_source|h_dest|[a-z]*addr|[sd]?mac|eth)([._]|$)")
_IPV4_MAPPED = bytes(10) + b"\xff\xff"
# One walk finds the cgroups of all maps.
_CGROUPS = CgroupPaths()
# The control characters, a set that Unicode guarantees never to change.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

# include/uapi/linux/bpf.h, enum xdp_action
_XDP_ACTIONS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}

# IANA, "Assigned Internet Protocol Numbers": those an XDP program may see, by keyword in lower case.
_PROTOCOLS = {
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
class _Settings:
    """What some decoders need besides the bytes: the table of `table`, the interface names of `ifname`."""

    table: Mapping[int, str]
    name_of: NameOf


@dataclass(frozen=True)
class Decoder:
    """
    One way to turn bytes into an attribute's value.

    Attributes:
        bits: The widths that it can read; empty: any width, for a number up to 64 bits.
        whole_bytes: Whether it reads bytes in memory order; otherwise it reads a number.
        build: Returns the function that decodes one part.

    """

    bits: tuple[int, ...]
    whole_bytes: bool
    build: Callable[[Part, _Settings], Decode]


def bind(
    name: str,
    part: Part,
    table: Mapping[int, str] | None = None,
    name_of: NameOf | None = None,
    *,
    at: str = "",
) -> Decode:
    """
    Return the function that decodes *part*, given the key's raw bytes.

    Args:
        name: The decoder; empty: the default for the part's type.
        part: Which bits of the key to decode.
        table: For the decoder `table`.
        name_of: Interface names by index; by default those of the sidecar's network namespace.
        at: `file:line` of the entry that asks for it, for messages.

    Raises:
        ConfigError: There is no such decoder, or it cannot read this part.

    """
    chosen = name or default_for(part)
    if chosen not in DECODERS:
        raise entry_error(at, f"decoder {name!r}", "unknown", suggest(name, DECODERS))
    entry = f"decoder {chosen} for {part.name} ({part.type})"
    if cause := _misfit(DECODERS[chosen], part):
        fitting = [other for other, decoder in DECODERS.items() if not _misfit(decoder, part)]
        raise entry_error(at, entry, cause, f"use one of {', '.join(fitting)}" if fitting else "leave it out")
    if chosen == "enum" and not part.names:
        raise entry_error(at, entry, "BTF has no names for it", "use integer or table")
    decode = DECODERS[chosen].build(part, _Settings(table or {}, name_of or socket.if_indextoname))
    if not part.in_prefix:
        return decode
    is_number = not DECODERS[chosen].whole_bytes and chosen != "integer_be"
    in_part = _integer(part, big_endian=part.big_endian) if is_number else decode
    return in_prefix_notation(decode, in_part, part, always=chosen in _OF_PREFIXES)


def form_of(name: str, part: Part) -> str:
    """Return what a decoder makes of a part, as `schema.LabelPart` says it; empty if it is none of these."""
    chosen = name or default_for(part)
    if part.bits % 8 or part.bit_offset % 8:
        return ""
    if chosen in ("integer", "integer_be", "port"):
        is_big = chosen != "integer" or sys.byteorder == "big"
        is_signed = chosen != "port" and _is_signed(part)
        if part.bits not in (8, 16, 32, 64) or (part.bits == 64 and not is_signed):
            return ""  # a large number becomes text
        return f"{'>' if is_big else '<'}{'i' if is_signed else 'u'}{part.bits // 8}"
    of = {"hex": "hex", "ipv4": "ipv4", "ip": "ipv4", "mac": "mac"}
    sizes = {"ipv4": 32, "mac": 48}
    form = of.get(chosen, "")
    return form if part.bits == sizes.get(form, part.bits) else ""


def default_for(part: Part) -> str:
    """Return the name of the default decoder for a part's type."""
    if part.in_prefix and (part.encoding is Encoding.BYTES or part.big_endian) and part.bits in _ADDRESSES:
        return _ADDRESSES[part.bits]
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
    """Return why a decoder cannot read a part; empty if it can."""
    if not part.bits:
        return "the field is empty"
    if decoder.bits and part.bits not in decoder.bits:
        needed = " or ".join(f"{bits // 8}" for bits in decoder.bits)
        return f"it needs {needed} bytes, the field has {part.bits / 8:g}"
    if decoder.whole_bytes and (part.bits % 8 or part.bit_offset % 8):
        return "it needs whole bytes, the field is a bit-field"
    if not decoder.whole_bytes and part.bits > 64:
        return f"it reads at most 8 bytes, the field has {part.bits // 8}"
    return ""


def number_of(part: Part) -> Callable[[bytes], int]:
    """Return the function that reads a part of up to 64 bits of a key as the number that it is."""
    return _number_reader(part, big_endian=part.big_endian)


def _is_signed(part: Part) -> bool:
    return part.encoding is Encoding.SIGNED or any(number < 0 for number in part.names)


def _number_reader(part: Part, *, big_endian: bool) -> Callable[[bytes], int]:
    """Return the function that reads a part as a number, in two's complement if it is signed."""
    first, shift = divmod(part.bit_offset, 8)
    last = first + (shift + part.bits + 7) // 8
    order: Literal["little", "big"] = "big" if big_endian else sys.byteorder
    if order == "big":
        # BTF counts bits from the most significant one on a big-endian machine.
        shift = 8 * (last - first) - shift - part.bits
    mask, sign = (1 << part.bits) - 1, 1 << (part.bits - 1)
    signed = _is_signed(part)

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
    read = _number_reader(part, big_endian=big_endian)
    if part.bits < 64:
        return read

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return number if number <= _LARGEST_INTEGER else str(number)

    return decode


def _named(part: Part, names: Mapping[int, str]) -> Decode:
    """Decode a number to its name, or to its digits if it has none: the attribute is always text."""
    read = _number_reader(part, big_endian=part.big_endian)

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return names.get(number) or str(number)

    return decode


def _ifname(part: Part, name_of: NameOf) -> Decode:
    """Decode an interface index to the name that it had when first seen: a series keeps its attributes."""
    read = _number_reader(part, big_endian=part.big_endian)
    seen: dict[int, str] = {}

    def decode(raw: bytes) -> Value:
        index = read(raw)
        if index not in seen:
            try:
                seen[index] = _string(os.fsencode(name_of(index)))
            except (OSError, OverflowError):  # removed, or out of range
                return str(index)
        return seen[index]

    return decode


def _by_bytes(decode: Callable[[bytes], Value]) -> Callable[[Part, _Settings], Decode]:
    def build(part: Part, _: _Settings) -> Decode:
        read = _bytes_reader(part)
        return lambda raw: decode(read(raw))

    return build


def _ip(raw: bytes) -> str:
    """Return an IPv4 or IPv6 address; an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) as IPv4."""
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    if raw.startswith(_IPV4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[len(_IPV4_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, raw)


def _ipv4_host(part: Part) -> Decode:
    """Decode an IPv4 address that was converted to host byte order."""
    read = _number_reader(replace(part, encoding=Encoding.UNSIGNED), big_endian=False)
    return lambda raw: socket.inet_ntop(socket.AF_INET, read(raw).to_bytes(4, "big"))


def _mac(raw: bytes) -> str:
    """Return a MAC address, also if two zeros follow; anything else that is 8 bytes long in whole."""
    return raw[:6].hex(":") if not any(raw[6:]) else raw.hex(":")


def _mac_host(part: Part) -> Decode:
    """Decode a MAC address that is a number, its first byte the most significant of 48 bits."""
    read = _number_reader(replace(part, encoding=Encoding.UNSIGNED), big_endian=False)

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return number.to_bytes(6 if number < 1 << 48 else 8, "big").hex(":")

    return decode


def _cgroup(part: Part) -> Decode:
    """Decode a cgroup's id to its path, or to its digits if it has none here."""
    read = _number_reader(replace(part, encoding=Encoding.UNSIGNED), big_endian=False)

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return _CGROUPS.path(number) or str(number)

    return decode


def _text(raw: bytes) -> str:
    """
    Return text without its trailing NULs; bytes that are not printable UTF-8 become `0x…`, all of them.

    Distinct values give distinct texts: `0x…` is longer than any text of as many bytes.
    """
    try:
        text = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"
    return f"0x{raw.hex()}" if _CONTROL.search(text) else text


def _string(raw: bytes) -> str:
    r"""Return the text before the first NUL, whatever follows; bytes that are not UTF-8 become `\xff`."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _bool(part: Part) -> Decode:
    """Decode a number to whether it is not 0; a C bool, which is 0 or 1, to its digits if it is neither."""
    read = _number_reader(part, big_endian=False)
    if part.encoding is not Encoding.BOOL:
        return lambda raw: read(raw) != 0

    def decode(raw: bytes) -> Value:
        number = read(raw)
        return bool(number) if number in (0, 1) else str(number)

    return decode


DECODERS: Mapping[str, Decoder] = {
    "integer": Decoder((), False, lambda part, _: _integer(part, big_endian=False)),
    "integer_be": Decoder((), False, lambda part, _: _integer(part, big_endian=True)),
    "bool": Decoder((), False, lambda part, _: _bool(part)),
    "enum": Decoder((), False, lambda part, _: _named(part, part.names)),
    "ifname": Decoder((), False, lambda part, settings: _ifname(part, settings.name_of)),
    "ipv4": Decoder((32,), True, _by_bytes(lambda raw: socket.inet_ntop(socket.AF_INET, raw))),
    "ipv6": Decoder((128,), True, _by_bytes(lambda raw: socket.inet_ntop(socket.AF_INET6, raw))),
    "ip": Decoder((32, 128), True, _by_bytes(_ip)),
    "ipv4_host": Decoder((32,), False, lambda part, _: _ipv4_host(part)),
    "mac": Decoder((48, 64), True, _by_bytes(_mac)),
    "mac_host": Decoder((64,), False, lambda part, _: _mac_host(part)),
    "port": Decoder((16,), True, _by_bytes(lambda raw: int.from_bytes(raw, "big"))),
    "cgroup": Decoder((64,), False, lambda part, _: _cgroup(part)),
    "protocol": Decoder((), False, lambda part, _: _named(part, _PROTOCOLS)),
    "xdp_action": Decoder((), False, lambda part, _: _named(part, _XDP_ACTIONS)),
    "text": Decoder((), True, _by_bytes(_text)),
    "string": Decoder((), True, _by_bytes(_string)),
    "hex": Decoder((), True, _by_bytes(bytes.hex)),
    "table": Decoder((), False, lambda part, settings: _named(part, settings.table)),
}
"""The decoders by name."""
