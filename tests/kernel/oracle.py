# SPDX-License-Identifier: Apache-2.0
"""How a frame must be counted: bpf/README.md in Python, independent of the XDP program."""

from dataclasses import dataclass

_TRANSPORTS = {
    "ipv4": {1: ("icmp", 8), 6: ("tcp", 20), 17: ("udp", 8)},
    "ipv6": {58: ("icmp", 8), 6: ("tcp", 20), 17: ("udp", 8)},
}
"""By protocol number: the counter, and the bytes of its header that must be present."""
_EXTENSION_UNITS = {0: 8, 43: 8, 51: 4, 60: 8, 135: 8, 139: 8, 140: 8}
"""By extension header: the unit of its length field, which excludes 8 bytes; fragment headers have none."""
_FRAGMENT = 44
_VLAN = (0x8100, 0x88A8)


@dataclass(frozen=True)
class Counts:
    """The fields of `struct pkt_stats`, in its order (bpf/xdp_packet_counter.h)."""

    total: int = 0
    bytes: int = 0
    icmp: int = 0
    tcp: int = 0
    udp: int = 0
    other: int = 0
    ipv4: int = 0
    ipv6: int = 0


def counts(frame: bytes, fields: str) -> Counts:
    """Return the counts of one *frame* that adds to *fields*, such as "ipv4 tcp", besides total and bytes."""
    return Counts(total=1, bytes=len(frame), **dict.fromkeys(fields.split(), 1))


def classify(frame: bytes) -> Counts:
    """Return the counts of a *frame* of at least 14 bytes."""
    ethertype, packet = _u16(frame, 12), frame[14:]
    tags = 0
    while ethertype in _VLAN and tags < 2:
        if len(packet) < 4:
            return counts(frame, "other")
        ethertype, packet = _u16(packet, 2), packet[4:]
        tags += 1
    if ethertype == 0x0800 and len(packet) >= 20 and 0x45 <= packet[0] <= 0x4F:
        return counts(frame, f"ipv4 {_ipv4(packet)}")
    if ethertype == 0x86DD and len(packet) >= 40 and packet[0] >> 4 == 6:
        return counts(frame, f"ipv6 {_ipv6(packet[6], packet[40:], extensions_left=8)}")
    return counts(frame, "other")


def _ipv4(packet: bytes) -> str:
    if _u16(packet, 6) % 0x2000:
        return "other"
    return _transport("ipv4", packet[9], packet[packet[0] % 16 * 4 :])


def _ipv6(header: int, rest: bytes, *, extensions_left: int) -> str:
    if header != _FRAGMENT and header not in _EXTENSION_UNITS:
        return _transport("ipv6", header, rest)
    if not extensions_left or len(rest) < 8 or (header == _FRAGMENT and _u16(rest, 2) >= 8):
        return "other"
    size = 8 if header == _FRAGMENT else 8 + rest[1] * _EXTENSION_UNITS[header]
    return _ipv6(rest[0], rest[size:], extensions_left=extensions_left - 1)


def _transport(version: str, protocol: int, rest: bytes) -> str:
    kind, header_bytes = _TRANSPORTS[version].get(protocol, ("other", 0))
    return kind if len(rest) >= header_bytes else "other"


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
