# SPDX-License-Identifier: Apache-2.0
"""
The ground truth: what the client sent, counted without the XDP program.

A packet socket on the client's interface sees each outgoing frame, including TCP acknowledgements and the
kernel's ARP. `python -m demo.tap INTERFACE` is the child process that counts inside the client's namespace:
it answers each line on standard input with a line of JSON.
"""

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from select import select

from demo.classify import classify
from demo.errors import DemoError
from demo.processes import end, python, spawn

FIELDS = (
    "total_packets",
    "total_bytes",
    "icmp_packets",
    "tcp_packets",
    "udp_packets",
    "other_packets",
    "ipv4_packets",
    "ipv6_packets",
)
"""The fields of `struct pkt_stats`, in its order."""

Counts = dict[str, int]
"""A number for each of FIELDS."""

_SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h
_SOL_PACKET = 263  # include/linux/socket.h
_PACKET_STATISTICS = 6  # include/uapi/linux/if_packet.h
_ETH_P_ALL = 0x0003
_BUFFER_BYTES = 256 << 20
_FRAME_BYTES = 1 << 17  # more than the 64 KiB that the kernel hands to a veth as one frame


class Tap:
    """The counting child process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def counts(self) -> Counts:
        """
        Return what has been sent so far.

        Raises DemoError if the tap exited, or has lost frames, which makes its counts useless.
        """
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise DemoError("cannot read the tap on the client's interface: it exited: see its message above")
        answer: dict[str, int] = json.loads(line)
        lost = answer.pop("lost")
        if lost:
            raise DemoError(
                f"cannot read the tap on the client's interface: it lost {lost} frames: run the demo again"
            )
        return answer


@contextmanager
def tap(namespace: str, interface: str) -> Iterator[Tap]:
    """
    Count the frames that leave *interface* of *namespace*, from now on.

    The interface must be up, with or without carrier. Raises DemoError if the socket cannot be opened.
    """
    pipe = subprocess.PIPE
    process = spawn(python("demo.tap", interface), namespace=namespace, stdin=pipe, stdout=pipe)
    try:
        counting = Tap(process)
        counting.counts()
        yield counting
    finally:
        end(process)


def main() -> None:
    """Count until standard input ends; answer each of its lines with the counts so far."""
    counts = dict.fromkeys(FIELDS, 0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        packets.bind((sys.argv[1], _ETH_P_ALL))
        packets.setblocking(False)
        lost = 0
        while True:
            ready, _, _ = select([packets, sys.stdin], [], [])
            _drain(packets, counts)
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    return
                # struct tpacket_stats; reading it sets it to zero.
                _, dropped = struct.unpack("=II", packets.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
                lost += dropped
                print(json.dumps({**counts, "lost": lost}), flush=True)


def _drain(packets: socket.socket, counts: Counts) -> None:
    buffer = memoryview(bytearray(_FRAME_BYTES))
    while True:
        try:
            length, sender = packets.recvfrom_into(buffer)
        except BlockingIOError:
            return
        if sender[2] != socket.PACKET_OUTGOING:
            continue
        version, kind = classify(buffer[:length])
        counts["total_packets"] += 1
        counts["total_bytes"] += length
        counts[f"{kind}_packets"] += 1
        if version:
            counts[f"{version}_packets"] += 1


if __name__ == "__main__":
    main()
