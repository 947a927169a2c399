# SPDX-License-Identifier: Apache-2.0
"""The demo's oracle against frames written out by hand, and the frames that its generator makes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.classify import classify
from demo.frames import broken, checksum, every_kind, ipv4, udp

MACS = "ffffffffffff 020000000001"
IPV6_TO = "20010db8000000000000000000000001 20010db8000000000000000000000002"
UDP_HEADER = "9c40 0009 0008 0000"
TCP_HEADER = "9c40 0009 00000001 00000000 50 04 0000 0000 0000"
ECHO_HEADER = "08 00 0000 0001 0001"

BY_HAND = {
    "TCP": (f"0800 4500 0028 0000 0000 40 06 0000 c0000201 c0000202 {TCP_HEADER}", "ipv4", "tcp"),
    "TCP cut by a byte": (
        f"0800 4500 0028 0000 0000 40 06 0000 c0000201 c0000202 {TCP_HEADER[:-2]}",
        "ipv4",
        "other",
    ),
    "UDP": (f"0800 4500 001c 0000 0000 40 11 0000 c0000201 c0000202 {UDP_HEADER}", "ipv4", "udp"),
    "UDP behind options": (
        f"0800 4600 0020 0000 0000 40 11 0000 c0000201 c0000202 01010100 {UDP_HEADER}",
        "ipv4",
        "udp",
    ),
    "options where UDP should end": (
        f"0800 4700 001c 0000 0000 40 11 0000 c0000201 c0000202 {UDP_HEADER}",
        "ipv4",
        "other",
    ),
    "ICMP": (f"0800 4500 001c 0000 0000 40 01 0000 c0000201 c0000202 {ECHO_HEADER}", "ipv4", "icmp"),
    "ICMPv6 over IPv4": (
        f"0800 4500 001c 0000 0000 40 3a 0000 c0000201 c0000202 {ECHO_HEADER}",
        "ipv4",
        "other",
    ),
    "do not fragment": (f"0800 4500 001c 0000 4000 40 11 0000 c0000201 c0000202 {UDP_HEADER}", "ipv4", "udp"),
    "first fragment": (f"0800 4500 001c 0000 2000 40 11 0000 c0000201 c0000202 {UDP_HEADER}", "ipv4", "udp"),
    "later fragment": (
        f"0800 4500 001c 0000 2001 40 11 0000 c0000201 c0000202 {UDP_HEADER}",
        "ipv4",
        "other",
    ),
    "IPv4 header cut by a byte": ("0800 4500 001c 0000 0000 40 11 0000 c0000201 c00002", "", "other"),
    "header length 4 words": (
        f"0800 4400 001c 0000 0000 40 11 0000 c0000201 c0000202 {UDP_HEADER}",
        "",
        "other",
    ),
    "version 6 in an IPv4 frame": (f"0800 65{UDP_HEADER * 4}", "", "other"),
    "TCP over IPv6": (f"86dd 60000000 0014 06 40 {IPV6_TO} {TCP_HEADER}", "ipv6", "tcp"),
    "UDP over IPv6": (f"86dd 60000000 0008 11 40 {IPV6_TO} {UDP_HEADER}", "ipv6", "udp"),
    "UDP over IPv6 cut by a byte": (f"86dd 60000000 0008 11 40 {IPV6_TO} {UDP_HEADER[:-2]}", "ipv6", "other"),
    "ICMPv6": (f"86dd 60000000 0008 3a 40 {IPV6_TO} 80 00 0000 0001 0001", "ipv6", "icmp"),
    "ICMP over IPv6": (f"86dd 60000000 0008 01 40 {IPV6_TO} {ECHO_HEADER}", "ipv6", "other"),
    "hop-by-hop": (f"86dd 60000000 0010 00 40 {IPV6_TO} 11 00 0104 00000000 {UDP_HEADER}", "ipv6", "udp"),
    "routing header of 16 bytes": (
        f"86dd 60000000 0018 2b 40 {IPV6_TO} 11 01 0000 00000000 00000000 00000000 {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "AH of 24 bytes": (
        f"86dd 60000000 0020 33 40 {IPV6_TO} 11 04 0000 00000001 00000001 {'00' * 12} {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "mobility header": (
        f"86dd 60000000 0010 87 40 {IPV6_TO} 11 00 0000 00000000 {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "atomic fragment": (
        f"86dd 60000000 0010 2c 40 {IPV6_TO} 11 ff 0000 00000001 {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "later IPv6 fragment": (
        f"86dd 60000000 0010 2c 40 {IPV6_TO} 11 00 0008 00000001 {UDP_HEADER}",
        "ipv6",
        "other",
    ),
    "extension header cut": (f"86dd 60000000 0010 00 40 {IPV6_TO} 11 00 0104 000000", "ipv6", "other"),
    "eight extension headers": (
        f"86dd 60000000 0048 3c 40 {IPV6_TO} {'3c 00 0104 00000000' * 7} 11 00 0104 00000000 {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "nine extension headers": (
        f"86dd 60000000 0050 3c 40 {IPV6_TO} {'3c 00 0104 00000000' * 8} 11 00 0104 00000000 {UDP_HEADER}",
        "ipv6",
        "other",
    ),
    "ESP": (f"86dd 60000000 0008 32 40 {IPV6_TO} {UDP_HEADER}", "ipv6", "other"),
    "IPv6 header cut by a byte": (f"86dd 60000000 0008 11 40 {IPV6_TO[:-2]}", "", "other"),
    "802.1Q": (f"8100 000a 86dd 60000000 0008 11 40 {IPV6_TO} {UDP_HEADER}", "ipv6", "udp"),
    "802.1ad and 802.1Q": (
        f"88a8 000a 8100 000b 86dd 60000000 0008 11 40 {IPV6_TO} {UDP_HEADER}",
        "ipv6",
        "udp",
    ),
    "three tags": (
        f"88a8 000a 8100 000b 8100 000c 86dd 60000000 0008 11 40 {IPV6_TO} {UDP_HEADER}",
        "",
        "other",
    ),
    "tag cut": ("8100 000a 86", "", "other"),
    "ARP": ("0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000202", "", "other"),
    "Ethernet header alone": ("0800", "", "other"),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_hand_written_frame(name: str) -> None:
    """Each kind of frame is what RFCs and the meaning of the counters say it is."""
    text, version, kind = BY_HAND[name]

    assert (version, kind) == classify(bytes.fromhex(MACS + text))


KINDS = {
    "IPv4 TCP": ("ipv4", "tcp"),
    "IPv4 UDP": ("ipv4", "udp"),
    "IPv4 ICMP": ("ipv4", "icmp"),
    "IPv4 GRE": ("ipv4", "other"),
    "IPv4 with options, UDP": ("ipv4", "udp"),
    "IPv4 first fragment": ("ipv4", "udp"),
    "IPv4 later fragment": ("ipv4", "other"),
    "IPv4 cut short": ("", "other"),
    "IPv6 TCP": ("ipv6", "tcp"),
    "IPv6 UDP": ("ipv6", "udp"),
    "IPv6 ICMPv6": ("ipv6", "icmp"),
    "IPv6 no next header": ("ipv6", "other"),
    "IPv6 hop-by-hop, UDP": ("ipv6", "udp"),
    "IPv6 destination, routing, TCP": ("ipv6", "tcp"),
    "IPv6 authentication, TCP": ("ipv6", "tcp"),
    "IPv6 first fragment": ("ipv6", "udp"),
    "IPv6 later fragment": ("ipv6", "other"),
    "IPv6 cut short": ("", "other"),
    "IPv6 extension cut short": ("ipv6", "other"),
    "ARP": ("", "other"),
    "unknown EtherType": ("", "other"),
    "Ethernet header alone": ("", "other"),
    "802.1Q, IPv4 TCP": ("ipv4", "tcp"),
    "802.1ad, IPv4 TCP": ("ipv4", "tcp"),
    "three tags, IPv4 TCP": ("", "other"),
    "802.1Q, IPv6 UDP": ("ipv6", "udp"),
    "802.1ad, IPv6 UDP": ("ipv6", "udp"),
    "three tags, IPv6 UDP": ("", "other"),
    "802.1Q, ARP": ("", "other"),
    "802.1ad, ARP": ("", "other"),
    "three tags, ARP": ("", "other"),
}


def test_generated_frames() -> None:
    """The generator makes a frame of each kind, and each is what its name says."""
    frames = every_kind(source=bytes.fromhex("020000000001"))

    assert {name: classify(frame) for name, frame in frames.items()} == KINDS


def test_broken_frames() -> None:
    """Broken frames keep their MAC addresses, are the same in each run, and few stay what they were."""
    whole = list(every_kind(source=bytes.fromhex("020000000001")).values())

    frames = list(broken(whole, 500))

    assert frames == list(broken(whole, 500))
    assert {frame[:12] for frame in frames} == {whole[0][:12]}
    assert min(len(frame) for frame in frames) == 14
    assert sum(frame in whole for frame in frames) < 250


@given(st.sampled_from(list(BY_HAND)), st.binary(max_size=64), st.integers(0, 130))
def test_no_frame_is_too_broken(name: str, tail: bytes, cut: int) -> None:
    """Whatever is cut off or stuck to a frame, it is classified, and what is no IP is "other"."""
    frame = bytes.fromhex(MACS + BY_HAND[name][0])

    version, kind = classify(frame[:cut] + tail)

    assert version in ("ipv4", "ipv6", "")
    assert kind in ("tcp", "udp", "icmp", "other") if version else kind == "other"


def test_checksum_of_the_rfc() -> None:
    """The checksum is the one of RFC 1071's example (section 3), complemented."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == bytes.fromhex("220d")


def test_ipv4_header_is_whole() -> None:
    """A generated IPv4 header says its true length and its checksum verifies, with options too."""
    packet = ipv4(17, udp(b"odd"), options=bytes((1, 1, 1, 0)))
    header = packet[: 4 * (packet[0] & 15)]

    assert len(packet) == struct.unpack_from("!H", packet, 2)[0]
    assert checksum(header) == bytes(2)
