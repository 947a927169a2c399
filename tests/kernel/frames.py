# SPDX-License-Identifier: Apache-2.0
"""Frames for the interfaces of the kernel tests."""

import socket


def send(interface, count, size=60):
    """Send frames of an unknown EtherType from the peer, so that the interface receives them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((f"{interface.name}p", 0))
        for _ in range(count):
            raw.send(b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(size - 14))
