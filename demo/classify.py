# SPDX-License-Identifier: Apache-2.0
"""
The oracle: what kind of packet an Ethernet frame is.

Written from the meaning of the counters (bpf/README.md) and sharing no code with the XDP program.
"""

_VLAN_TAGS = (0x8100, 0x88A8)
_EXTENSION_UNITS = {0: (8, 1), 43: (8, 1), 60: (8, 1), 135: (8, 1), 139: (8, 1), 140: (8, 1), 51: (4, 2)}
"""IPv6 extension header to (a, b): a x (its length field + b) bytes. 51 is AH (RFC 4302 section 2.2)."""
_FRAGMENT = 44
_MAX_EXTENSIONS = 8
_TRANSPORTS = {
    ("ipv4", 1): ("icmp", 8),
    ("ipv6", 58): ("icmp", 8),
    ("ipv4", 6): ("tcp", 20),
    ("ipv6", 6): ("tcp", 20),
    ("ipv4", 17): ("udp", 8),
    ("ipv6", 17): ("udp", 8),
}
"""(IP version, protocol) to what it counts as, and how many bytes of its header the frame must hold."""


def classify(frame: bytes | memoryview) -> tuple[str, str]:
    """Return the IP version of *frame* ("ipv4", "ipv6", "") and its kind ("tcp", "udp", "icmp", "other")."""
    start = 14
    for _ in range(2):
        if _u16(frame, start - 2) not in _VLAN_TAGS:
            break
        start += 4
    ethertype, packet = _u16(frame, start - 2), frame[start:]
    if ethertype == 0x0800 and len(packet) >= 20 and packet[0] >> 4 == 4 and packet[0] & 15 >= 5:
        return "ipv4", _ipv4_kind(packet)
    if ethertype == 0x86DD and len(packet) >= 40 and packet[0] >> 4 == 6:
        return "ipv6", _ipv6_kind(packet)
    return "", "other"


def _ipv4_kind(packet: bytes | memoryview) -> str:
    if _u16(packet, 6) & 0x1FFF:
        return "other"
    return _transport("ipv4", packet[9], packet[4 * (packet[0] & 15) :])


def _ipv6_kind(packet: bytes | memoryview) -> str:
    header, rest = packet[6], packet[40:]
    for _ in range(_MAX_EXTENSIONS):
        if header not in _EXTENSION_UNITS and header != _FRAGMENT:
            break
        if len(rest) < 8 or (header == _FRAGMENT and _u16(rest, 2) >> 3):
            return "other"
        unit, more = _EXTENSION_UNITS.get(header, (8, 1))
        size = 8 if header == _FRAGMENT else unit * (rest[1] + more)
        header, rest = rest[0], rest[size:]
    return _transport("ipv6", header, rest)


def _transport(version: str, protocol: int, rest: bytes | memoryview) -> str:
    kind, header_bytes = _TRANSPORTS.get((version, protocol), ("other", 0))
    return kind if len(rest) >= header_bytes else "other"


def _u16(data: bytes | memoryview, at: int) -> int:
    """Return the 16 bits of *data* at byte *at*, or 0 if it ends before."""
    return int.from_bytes(data[at : at + 2], "big") if len(data) >= at + 2 else 0
