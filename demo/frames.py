# SPDX-License-Identifier: Apache-2.0
"""Hand-made Ethernet frames, which ordinary sockets do not send."""

import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from random import Random

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, NO_NEXT = 0, 43, 44, 51, 60, 59
IPV4, ARP, VLAN, QINQ, IPV6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
EXPERIMENTAL = 0x88B5
"""An EtherType for local experiments (IEEE 802a)."""

# Unused in the node's namespace (RFC 5737, RFC 3849, a locally administered MAC): XDP counts the frames, the
# stack drops them, and no reply is sent.
_UNUSED_MAC = bytes.fromhex("020000000002")
_IPV4_PAIR = IPv4Address("198.51.100.1").packed + IPv4Address("198.51.100.2").packed
_IPV6_PAIR = IPv6Address("2001:db8:1::1").packed + IPv6Address("2001:db8:1::2").packed


def ethernet(source: bytes, ethertype: int, payload: bytes, *, tags: tuple[int, ...] = ()) -> bytes:
    """Return a frame from the MAC *source*, with one VLAN tag for each tag protocol of *tags*."""
    frame = _UNUSED_MAC + source
    for number, tag in enumerate(tags, start=10):
        frame += struct.pack("!HH", tag, number)
    return frame + struct.pack("!H", ethertype) + payload


def ipv4(
    protocol: int, payload: bytes, *, options: bytes = b"", offset: int = 0, more: bool = False
) -> bytes:
    """Return an IPv4 packet; *offset* (in 8-byte units) and *more* make it a fragment."""
    words = 5 + len(options) // 4
    header = struct.pack(
        "!BBHHHBBH8s",
        0x40 | words,
        0,
        4 * words + len(payload),
        1,
        more << 13 | offset,
        64,
        protocol,
        0,
        _IPV4_PAIR,
    )
    return header[:10] + checksum(header + options) + header[12:] + options + payload


def ipv6(following: int, payload: bytes) -> bytes:
    """Return an IPv6 packet whose first header after its own is *following*."""
    return struct.pack("!IHBB32s", 6 << 28, len(payload), following, 64, _IPV6_PAIR) + payload


def extension(following: int, *, units: int = 0) -> bytes:
    """Return an IPv6 extension header of 8 x (*units* + 1) bytes, all padding (RFC 8200 section 4.2)."""
    padding = 8 * (units + 1) - 4
    return bytes((following, units, 1, padding)) + bytes(padding)


def fragment(following: int, *, offset: int, more: bool) -> bytes:
    """Return an IPv6 fragment header (RFC 8200 section 4.5); *offset* is in 8-byte units."""
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 7)


def authentication(following: int) -> bytes:
    """Return an IPv6 authentication header with a 12-byte check value (RFC 4302 section 2)."""
    return struct.pack("!BBHII12s", following, 4, 0, 1, 1, bytes(12))


def udp(payload: bytes = b"demo") -> bytes:
    """Return a UDP datagram to the discard port."""
    return struct.pack("!HHHH", 40000, 9, 8 + len(payload), 0) + payload


def tcp() -> bytes:
    """Return a TCP segment: a reset, which is never answered."""
    return struct.pack("!HHIIBBHHH", 40000, 9, 1, 0, 5 << 4, 4, 0, 0, 0)


def echo(number: int, *, identifier: int = 1, payload: bytes = b"demo") -> bytes:
    """Return an ICMP echo request with its checksum."""
    message = struct.pack("!BBHHH", 8, 0, 0, identifier, number) + payload
    return message[:2] + checksum(message) + message[4:]


def arp(source: bytes) -> bytes:
    """Return an ARP request for an unused address."""
    return struct.pack("!HHBBH6s4s6s4s", 1, IPV4, 6, 4, 1, source, _IPV4_PAIR[:4], bytes(6), _IPV4_PAIR[4:])


def checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071) of *data*, of even length once padded."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", 0xFFFF ^ total)


def every_kind(source: bytes) -> dict[str, bytes]:
    """Return a frame from the MAC *source* for each kind that the XDP program tells apart, by its name."""
    inner = {
        "IPv4 TCP": (IPV4, ipv4(TCP, tcp())),
        "IPv4 UDP": (IPV4, ipv4(UDP, udp())),
        "IPv4 ICMP": (IPV4, ipv4(ICMP, echo(1))),
        "IPv4 GRE": (IPV4, ipv4(47, bytes(4))),
        "IPv4 with options, UDP": (IPV4, ipv4(UDP, udp(), options=bytes((1, 1, 1, 0)))),
        "IPv4 first fragment": (IPV4, ipv4(UDP, udp(bytes(16)), more=True)),
        "IPv4 later fragment": (IPV4, ipv4(UDP, bytes(16), offset=3)),
        "IPv4 cut short": (IPV4, ipv4(UDP, udp())[:12]),
        "IPv6 TCP": (IPV6, ipv6(TCP, tcp())),
        "IPv6 UDP": (IPV6, ipv6(UDP, udp())),
        "IPv6 ICMPv6": (IPV6, ipv6(ICMPV6, bytes((128, 0, 0, 0, 0, 1, 0, 1)))),
        "IPv6 no next header": (IPV6, ipv6(NO_NEXT, b"")),
        "IPv6 hop-by-hop, UDP": (IPV6, ipv6(HOP_BY_HOP, extension(UDP) + udp())),
        "IPv6 destination, routing, TCP": (
            IPV6,
            ipv6(DESTINATION, extension(ROUTING, units=1) + extension(TCP) + tcp()),
        ),
        "IPv6 authentication, TCP": (IPV6, ipv6(AUTHENTICATION, authentication(TCP) + tcp())),
        "IPv6 first fragment": (IPV6, ipv6(FRAGMENT, fragment(UDP, offset=0, more=True) + udp(bytes(16)))),
        "IPv6 later fragment": (IPV6, ipv6(FRAGMENT, fragment(UDP, offset=3, more=False) + bytes(16))),
        "IPv6 cut short": (IPV6, ipv6(UDP, udp())[:30]),
        "IPv6 extension cut short": (IPV6, ipv6(HOP_BY_HOP, extension(UDP)[:4])),
        "ARP": (ARP, arp(source)),
        "unknown EtherType": (EXPERIMENTAL, bytes(46)),
        "Ethernet header alone": (IPV4, b""),
    }
    frames = {name: ethernet(source, *parts) for name, parts in inner.items()}
    for name in ("IPv4 TCP", "IPv6 UDP", "ARP"):
        frames[f"802.1Q, {name}"] = ethernet(source, *inner[name], tags=(VLAN,))
        frames[f"802.1ad, {name}"] = ethernet(source, *inner[name], tags=(QINQ, VLAN))
        frames[f"three tags, {name}"] = ethernet(source, *inner[name], tags=(QINQ, VLAN, VLAN))
    return frames


def broken(frames: Sequence[bytes], count: int) -> Iterator[bytes]:
    """
    Yield *count* frames of *frames* with some bytes changed, cut off or added behind the MAC addresses.

    The same ones each time. Bytes are changed mostly to numbers that mean something in some header.
    """
    random = Random(count)  # noqa: S311 - no secret
    meaningful = (0, 1, 6, 8, 17, 43, 44, 51, 58, 60, 0x60, 0x81, 0x86, 0x88, 0xA8, 0xDD)
    for _ in range(count):
        frame = bytearray(random.choice(frames))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            if len(frame) > 14:
                frame[random.randrange(12, len(frame))] = random.choice((*meaningful, random.randrange(256)))
        if random.random() < 0.3:
            del frame[random.randrange(14, len(frame) + 1) :]
        elif random.random() < 0.3:
            frame += random.randbytes(random.randrange(60))
        yield bytes(frame)
