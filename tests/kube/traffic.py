# SPDX-License-Identifier: Apache-2.0
"""
Sends frames of known kinds into one end of a veth pair; runs on a node with plain Python.

usage: traffic.py INTERFACE ROUNDS PER_SECOND

Prints JSON: the counts that arrived at the other end, and the number of frames that the kernel dropped.
"""

import json
import socket
import struct
import sys
import time
from pathlib import Path

ETHERNET = bytes.fromhex("020000000002 020000000001")


def ipv4(protocol, payload):
    """Return a frame without a valid checksum."""
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, b"\n\0\0\1", b"\n\0\0\2"
    )
    return ETHERNET + b"\x08\x00" + head + payload


def ipv6(protocol, payload):
    """Return a frame between two documentation addresses."""
    address = bytes.fromhex("20010db8" + "00" * 12)
    head = struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, 64, address, address)
    return ETHERNET + b"\x86\xdd" + head + payload


# By kind: a frame, and the fields it counts in besides the totals.
FRAMES = (
    (ipv4(6, bytes(20)), ("tcp", "ipv4")),
    (ipv4(17, bytes(8 + 100)), ("udp", "ipv4")),
    (ipv4(1, bytes(8)), ("icmp", "ipv4")),
    (ipv4(47, bytes(40)), ("other", "ipv4")),
    (ipv6(6, bytes(20 + 999)), ("tcp", "ipv6")),
    (ipv6(17, bytes(8)), ("udp", "ipv6")),
    (ipv6(58, bytes(8)), ("icmp", "ipv6")),
    (ETHERNET + b"\x08\x06" + bytes(28), ("other",)),
)


def counted(rounds):
    """Return the counts of *rounds* times all frames."""
    counts = dict.fromkeys(("total", "bytes", "tcp", "udp", "icmp", "other", "ipv4", "ipv6"), 0)
    for frame, kinds in FRAMES:
        for kind in ("total", *kinds):
            counts[kind] += rounds
        counts["bytes"] += rounds * len(frame)
    return counts


def dropped(interface):
    """Return the number of frames that the kernel dropped before the other end."""
    return int(Path(f"/sys/class/net/{interface}/statistics/tx_dropped").read_text())


def main(interface, rounds, per_second):
    """Send one round of frames at a time, slowly enough for the other end's queue of 256."""
    before = dropped(interface)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((interface, 0))
        begun = time.monotonic()
        for number in range(rounds):
            for frame, _ in FRAMES:
                wire.send(frame)
            pause = begun + number * len(FRAMES) / per_second - time.monotonic()
            if pause > 0:
                time.sleep(pause)
    sys.stdout.write(json.dumps({"counts": counted(rounds), "dropped": dropped(interface) - before}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
