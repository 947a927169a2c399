# SPDX-License-Identifier: Apache-2.0
"""
Frames for the packet counter: one of each kind, with the counters to which it must add, and random ones.

Headers are packed by hand, as packet libraries do not build most of these frames. Checksums are zero: XDP
runs before anything verifies them.
"""

import struct

from hypothesis import strategies as st

ARP, IPV4, IPV6, LLDP, MPLS = 0x0806, 0x0800, 0x86DD, 0x88CC, 0x8847
C_TAG, S_TAG = 0x8100, 0x88A8
ICMP, TCP, UDP, GRE, ESP, ICMPV6, OSPF, SCTP = 1, 6, 17, 47, 50, 58, 89, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AH, NO_NEXT, DESTINATION = 0, 43, 44, 51, 59, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140

EXTENSIONS = {
    HOP_BY_HOP: "hop-by-hop",
    ROUTING: "routing",
    FRAGMENT: "fragment",
    AH: "authentication",
    DESTINATION: "destination",
    MOBILITY: "mobility",
    HIP: "HIP",
    SHIM6: "shim6",
}
MAX_EXTENSIONS = 8


def ethernet(ethertype: int, payload: bytes, *tags: int) -> bytes:
    """Return a frame with a VLAN tag for each tag protocol in *tags*, the outermost first."""
    stack = b"".join(struct.pack("!HH", tag, 100 + depth) for depth, tag in enumerate(tags))
    return bytes.fromhex("020000000001 020000000002") + stack + struct.pack("!H", ethertype) + payload


def ipv4(
    protocol: int, payload: bytes, *, options: bytes = b"", offset: int = 0, more: bool = False
) -> bytes:
    """Return an IPv4 packet; *offset* (in 8-byte units) and *more* make it a fragment."""
    words = 5 + len(options) // 4
    length = (4 * words + len(payload)) & 0xFFFF
    fragment = more << 13 | offset
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, 1, fragment, 64, protocol, 0)
    return header + bytes((192, 0, 2, 1, 192, 0, 2, 2)) + options + payload


def ipv6(next_header: int, payload: bytes) -> bytes:
    """Return an IPv6 packet; *payload* begins with its extension headers."""
    network = bytes.fromhex("20010db8") + bytes(11)
    header = struct.pack("!IHBB", 6 << 28, len(payload) & 0xFFFF, next_header, 64)
    return header + network + b"\1" + network + b"\2" + payload


def first_byte(packet: bytes, value: int) -> bytes:
    """Return an IP *packet* with another version and header length."""
    return bytes((value,)) + packet[1:]


def extension(kind: int, after: int, length: int = 0) -> bytes:
    """Return an extension header of a *kind*, with its length field; behind it comes the header *after*."""
    if kind == FRAGMENT:
        return fragment(after)
    unit = 4 if kind == AH else 8
    return bytes((after, length)) + bytes(6 + unit * length)


def fragment(after: int, *, offset: int = 0, more: bool = False) -> bytes:
    """Return an IPv6 fragment header; *offset* is in 8-byte units."""
    return struct.pack("!BBHI", after, 0, offset << 3 | more, 1)


def chain(kinds: list[int], protocol: int, payload: bytes, length: int = 0) -> bytes:
    """Return an IPv6 packet with an extension header for each of *kinds*, then *payload*."""
    following = zip(kinds, [*kinds[1:], protocol], strict=True)
    headers = b"".join(extension(kind, after, length) for kind, after in following)
    return ipv6(kinds[0], headers + payload)


def tcp(payload: bytes = b"") -> bytes:
    """Return a TCP segment."""
    return struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 5 << 4, 0x10, 1000, 0, 0) + payload


def udp(payload: bytes = b"") -> bytes:
    """Return a UDP datagram."""
    return struct.pack("!HHHH", 40000, 53, 8 + len(payload) & 0xFFFF, 0) + payload


def echo(kind: int) -> bytes:
    """Return an echo request: *kind* 8 for ICMP, 128 for ICMPv6."""
    return struct.pack("!BBHHH", kind, 0, 0, 1, 1) + b"ping"


TCP4 = ipv4(TCP, tcp())
TCP6 = ipv6(TCP, tcp())
_DATA = bytes(64)

KINDS: dict[str, tuple[str, bytes]] = {
    "IPv4 TCP": ("ipv4 tcp", ethernet(IPV4, ipv4(TCP, tcp(b"hello")))),
    "IPv4 UDP": ("ipv4 udp", ethernet(IPV4, ipv4(UDP, udp(b"hello")))),
    "IPv4 ICMP": ("ipv4 icmp", ethernet(IPV4, ipv4(ICMP, echo(8)))),
    "IPv6 TCP": ("ipv6 tcp", ethernet(IPV6, ipv6(TCP, tcp(b"hello")))),
    "IPv6 UDP": ("ipv6 udp", ethernet(IPV6, ipv6(UDP, udp(b"hello")))),
    "IPv6 ICMPv6": ("ipv6 icmp", ethernet(IPV6, ipv6(ICMPV6, echo(128)))),
    "ICMPv6 in IPv4": ("ipv4 other", ethernet(IPV4, ipv4(ICMPV6, echo(128)))),
    "ICMP in IPv6": ("ipv6 other", ethernet(IPV6, ipv6(ICMP, echo(8)))),
    "bare TCP header": ("ipv4 tcp", ethernet(IPV4, TCP4)),
    "bare UDP header": ("ipv6 udp", ethernet(IPV6, ipv6(UDP, udp()))),
    "padding behind the packet": ("ipv4 udp", ethernet(IPV4, ipv4(UDP, udp())) + bytes(18)),
    # IPv4 options
    "4 bytes of options": ("ipv4 tcp", ethernet(IPV4, ipv4(TCP, tcp(), options=b"\1" * 4))),
    "40 bytes of options": ("ipv4 udp", ethernet(IPV4, ipv4(UDP, udp(), options=b"\1" * 40))),
    "options, ICMP": ("ipv4 icmp", ethernet(IPV4, ipv4(ICMP, echo(8), options=b"\x94\4\0\0"))),
    "options cut short": ("ipv4 other", ethernet(IPV4, ipv4(TCP, b"", options=b"\1" * 8))[:-4]),
    # IPv4 fragments
    "IPv4 first fragment": ("ipv4 udp", ethernet(IPV4, ipv4(UDP, udp(_DATA), more=True))),
    "IPv4 first fragment, tiny": ("ipv4 other", ethernet(IPV4, ipv4(TCP, tcp()[:8], more=True))),
    "IPv4 later fragment": ("ipv4 other", ethernet(IPV4, ipv4(UDP, _DATA, offset=9, more=True))),
    "IPv4 last fragment": ("ipv4 other", ethernet(IPV4, ipv4(TCP, _DATA, offset=0x1000))),
    "IPv4 later, options": ("ipv4 other", ethernet(IPV4, ipv4(TCP, _DATA, options=bytes(4), offset=1))),
    "IPv4 do not fragment": ("ipv4 tcp", ethernet(IPV4, ipv4(TCP, tcp(), offset=0x4000))),
    # IPv6 fragments
    "IPv6 first fragment": (
        "ipv6 udp",
        ethernet(IPV6, ipv6(FRAGMENT, fragment(UDP, more=True) + udp(_DATA))),
    ),
    "IPv6 atomic fragment": ("ipv6 tcp", ethernet(IPV6, chain([FRAGMENT], TCP, tcp()))),
    "IPv6 later fragment": ("ipv6 other", ethernet(IPV6, ipv6(FRAGMENT, fragment(UDP, offset=1) + _DATA))),
    "IPv6 last fragment": (
        "ipv6 other",
        ethernet(IPV6, ipv6(FRAGMENT, fragment(TCP, offset=0x1000) + _DATA)),
    ),
    "IPv6 later fragment, options": (
        "ipv6 other",
        ethernet(IPV6, ipv6(HOP_BY_HOP, extension(HOP_BY_HOP, FRAGMENT) + fragment(UDP, offset=1) + _DATA)),
    ),
    # IPv6 extension headers
    "IPv6 no next header": ("ipv6 other", ethernet(IPV6, ipv6(NO_NEXT, b""))),
    "IPv6 recommended order": (
        "ipv6 udp",
        ethernet(IPV6, chain([HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AH, DESTINATION], UDP, udp())),
    ),
    "IPv6 options, then nothing": ("ipv6 other", ethernet(IPV6, chain([DESTINATION], NO_NEXT, b""))),
    "IPv6 options, then ESP": ("ipv6 other", ethernet(IPV6, chain([HOP_BY_HOP], ESP, _DATA))),
    "IPv6 listener report": (
        "ipv6 icmp",
        ethernet(IPV6, ipv6(HOP_BY_HOP, bytes((ICMPV6, 0, 5, 2, 0, 0, 1, 0)) + echo(143))),
    ),
    "IPv6 extension cut short": ("ipv6 other", ethernet(IPV6, chain([HOP_BY_HOP], TCP, b""))[:-1]),
    "IPv6 extension too long": ("ipv6 other", ethernet(IPV6, ipv6(AH, bytes((TCP, 255)) + bytes(70)))),
    # VLAN tags
    "802.1Q": ("ipv4 tcp", ethernet(IPV4, TCP4, C_TAG)),
    "802.1ad": ("ipv6 tcp", ethernet(IPV6, TCP6, S_TAG)),
    "802.1ad, 802.1Q": ("ipv4 udp", ethernet(IPV4, ipv4(UDP, udp()), S_TAG, C_TAG)),
    "802.1Q, 802.1Q": ("ipv6 icmp", ethernet(IPV6, ipv6(ICMPV6, echo(128)), C_TAG, C_TAG)),
    "802.1Q, 802.1ad": ("ipv4 tcp", ethernet(IPV4, TCP4, C_TAG, S_TAG)),
    "802.1ad, 802.1ad": ("ipv4 tcp", ethernet(IPV4, TCP4, S_TAG, S_TAG)),
    "802.1Q, ARP": ("other", ethernet(ARP, bytes(28), C_TAG)),
    "802.1Q, options": ("ipv4 tcp", ethernet(IPV4, ipv4(TCP, tcp(), options=bytes(8)), C_TAG)),
    "802.1ad, 802.1Q, extension": ("ipv6 udp", ethernet(IPV6, chain([AH], UDP, udp(), 4), S_TAG, C_TAG)),
    "three tags": ("other", ethernet(IPV4, TCP4, S_TAG, C_TAG, C_TAG)),
    "tag cut short": ("other", ethernet(IPV4, b"", C_TAG)[:-1]),
    "tag of the time before 802.1ad": ("other", ethernet(IPV4, TCP4, 0x9100)),
    # Not IP, or not what it says
    "ARP": ("other", ethernet(ARP, bytes(28))),
    "LLDP": ("other", ethernet(LLDP, bytes(46))),
    "802.3 length": ("other", ethernet(46, b"\x42\x42\3" + bytes(43))),
    "MPLS": ("other", ethernet(MPLS, b"\0\0\1\x40" + TCP4)),
    "Ethernet header alone": ("other", ethernet(IPV4, b"")),
    "IPv4 with version 6": ("other", ethernet(IPV4, first_byte(TCP4, 0x65))),
    "IPv4 with version 0": ("other", ethernet(IPV4, first_byte(TCP4, 0x05))),
    "IPv4 with header length 4": ("other", ethernet(IPV4, first_byte(TCP4, 0x44))),
    "IPv4 with header length 0": ("other", ethernet(IPV4, first_byte(TCP4, 0x40))),
    "IPv6 with version 4": ("other", ethernet(IPV6, first_byte(TCP6, 0x45))),
    "IPv6 under the EtherType of IPv4": ("other", ethernet(IPV4, TCP6)),
    "IPv4 under the EtherType of IPv6": ("other", ethernet(IPV6, ipv4(TCP, tcp(_DATA)))),
    # Other protocols
    "AH in IPv4": ("ipv4 other", ethernet(IPV4, ipv4(AH, extension(AH, TCP, 4) + tcp()))),
    "IPv4 in IPv4": ("ipv4 other", ethernet(IPV4, ipv4(4, TCP4))),
    "IPv6 in IPv4": ("ipv4 other", ethernet(IPV4, ipv4(41, TCP6))),
    "IPv6 in IPv6": ("ipv6 other", ethernet(IPV6, ipv6(41, TCP6))),
}
for _name, _protocol in {"GRE": GRE, "SCTP": SCTP, "ESP": ESP, "OSPF": OSPF, "reserved": 255}.items():
    KINDS[f"{_name} in IPv4"] = ("ipv4 other", ethernet(IPV4, ipv4(_protocol, _DATA)))
    KINDS[f"{_name} in IPv6"] = ("ipv6 other", ethernet(IPV6, ipv6(_protocol, _DATA)))
for _kind, _name in EXTENSIONS.items():
    for _length in (0,) if _kind == FRAGMENT else (0, 4, 255):
        KINDS[f"{_name}, length field {_length}"] = (
            "ipv6 tcp",
            ethernet(IPV6, chain([_kind], TCP, tcp(), _length)),
        )
    for _count in (2, MAX_EXTENSIONS, MAX_EXTENSIONS + 1):
        KINDS[f"{_count} x {_name}"] = (
            "ipv6 udp" if _count <= MAX_EXTENSIONS else "ipv6 other",
            ethernet(IPV6, chain([_kind] * _count, UDP, udp(), 1)),
        )

_transports = st.sampled_from([tcp(), tcp(), udp(), echo(8), b"", bytes(7), bytes(19)])
_ipv4_packets = st.builds(
    lambda first, fragment, protocol, options, transport: (
        struct.pack("!B5xHBB10x", first, fragment, 64, protocol) + options + transport
    ),
    st.sampled_from([*[0x45] * 8, *range(0x44, 0x51), 0, 0x05, 0x65, 0xFF]),
    st.sampled_from([0, 0, 0, 0x2000, 0x4000, 1, 0x3FFF, 0x1000]),
    st.sampled_from([TCP, UDP, ICMP, ICMPV6, AH, ESP]),
    st.just(b"") | st.binary(max_size=40),
    _transports,
)
_next_headers = st.sampled_from([*EXTENSIONS, *EXTENSIONS, TCP, UDP, ICMP, ICMPV6, ESP, NO_NEXT])
_extension_headers = st.builds(
    lambda after, length, fragment, rest: struct.pack("!BBH4x", after, length, fragment) + rest,
    _next_headers,
    st.sampled_from([0, 0, 0, 1, 2, 255]),
    st.sampled_from([0, 0, 0, 1, 7, 8, 0xFFF8]),
    st.sampled_from([b"", b"", b"", bytes(4), bytes(8), bytes(16)]),
)
_ipv6_packets = st.builds(
    lambda first, after, extensions, transport: (
        struct.pack("!B5xBB32x", first, after, 64) + b"".join(extensions) + transport
    ),
    st.sampled_from([0x60, 0x60, 0x60, 0x60, 0x6F, 0x45, 0x50, 0x70]),
    _next_headers,
    st.lists(_extension_headers, max_size=MAX_EXTENSIONS + 2),
    _transports,
)
_vlan_tags = st.sampled_from([(), (), (C_TAG,), (S_TAG,), (S_TAG, C_TAG), (C_TAG, C_TAG, C_TAG)])
ip_frames = st.builds(
    lambda packet, tags, length: ethernet(*packet, *tags)[:length],
    st.tuples(st.just(IPV4), _ipv4_packets) | st.tuples(st.just(IPV6), _ipv6_packets),
    _vlan_tags,
    st.sampled_from([*[3000] * 300, *range(14, 140)]),
)
"""Frames that look like IP: most have something that another kind does not have, or lack something."""
