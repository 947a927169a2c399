# SPDX-License-Identifier: Apache-2.0
"""
The generator: real sockets and raw frames, run inside the namespaces as child processes.

`python -m demo.traffic serve` replies in the node's namespace, `… send INTERFACE` sends the mix once from the
client's, `… trickle INTERFACE` sends a little of everything until it is terminated.

Each datagram waits for its reply, and raw frames pause now and then: the veth pair queues 256 frames and
silently drops the rest, and a dropped frame was sent but never reached the XDP program.
"""

import os
import socket
import sys
import threading
import time
from contextlib import suppress

from demo.frames import broken, echo, every_kind
from demo.namespaces import NODE_IPV4, NODE_IPV6

PORT = 5001
"""The port of the node's TCP and UDP server."""

UPLOAD_BYTES = 8 << 20
"""Bytes that each TCP connection of the mix sends, and receives back."""

DATAGRAMS = (0, 1, 18, 512, 1472, 4096, 8000, 20000)
"""Sizes in bytes: empty, small, over a page (multi-buffer XDP), over the MTU (fragments)."""

_REPLY_TIMEOUT_S = 2.0
_BURST = 32
_WINDOW_BYTES = 128 << 10  # TCP: fewer segments in flight than the veth pair queues


def main() -> None:
    """Run the part of the generator that the command line names."""
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["send", interface]:
            send(interface)
        case ["trickle", interface]:
            trickle(interface)
        case _:
            sys.exit("usage: python -m demo.traffic serve | send INTERFACE | trickle INTERFACE")


def serve() -> None:
    """Reply on TCP and UDP, IPv4 and IPv6; print "ready" once both listen; never return."""
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WINDOW_BYTES)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind(("::", PORT))
    threading.Thread(target=_echo_datagrams, args=(datagrams,), daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_return_bytes, args=(connection,), daemon=True).start()


def send(interface: str) -> None:
    """Send the whole mix once, in bounded time."""
    _pings(NODE_IPV4, 101)  # and ARP before them
    _pings(NODE_IPV6, 103)  # and neighbour discovery
    _datagrams(NODE_IPV4, times=53)
    _datagrams(NODE_IPV6, times=59)
    _transfer(NODE_IPV4, UPLOAD_BYTES)
    _transfer(NODE_IPV6, UPLOAD_BYTES)
    for cpu in sorted(os.sched_getaffinity(0)):  # the node counts a frame on the CPU that sent it
        os.sched_setaffinity(0, {cpu})
        _raw_frames(interface, times=7 + cpu, broken_frames=1009)


def trickle(interface: str) -> None:
    """Send a little of everything, about a thousand packets a second, until the process is terminated."""
    while True:
        for address in (NODE_IPV4, NODE_IPV6):
            _transfer(address, 100_000)
            _datagrams(address, times=1)
            _pings(address, 3)
        _raw_frames(interface, times=1)
        time.sleep(0.5)


def _transfer(address: str, size: int) -> None:
    """Send *size* bytes to the node's TCP server, which returns as many."""
    with socket.create_connection((address, PORT), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WINDOW_BYTES)
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        returned = 0
        while part := connection.recv(1 << 20):
            returned += len(part)
    if returned != size:
        sys.exit(f"cannot transfer over TCP to {address}: {returned} of {size} bytes came back")


def _datagrams(address: str, *, times: int) -> None:
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sender:
        sender.settimeout(_REPLY_TIMEOUT_S)
        sender.connect((address, PORT))
        for size in DATAGRAMS * times:
            sender.send(bytes(size))
            # A lost reply is no failure: the datagram has been counted.
            with suppress(TimeoutError):
                sender.recv(1 << 16)


def _pings(address: str, times: int) -> None:
    """Send echo requests of growing size, each after the reply to the previous or two seconds."""
    family = _family(address)
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
        sender.settimeout(_REPLY_TIMEOUT_S)
        sender.connect((address, 0))
        for number in range(times):
            message = bytearray(echo(number, identifier=os.getpid() & 0xFFFF, payload=bytes(number)))
            if family == socket.AF_INET6:
                message[0] = 128  # echo request; the kernel writes the checksum of ICMPv6
            sender.send(message)
            with suppress(TimeoutError):
                sender.recv(1 << 16)


def _raw_frames(interface: str, *, times: int, broken_frames: int = 0) -> None:
    """Send each hand-made frame *times* x its position (no two equally often), then broken frames."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        frames = list(every_kind(source=sender.getsockname()[4]).values())
        repeated = [frame for place, frame in enumerate(frames, start=1) for _ in range(place * times)]
        for number, frame in enumerate([*repeated, *broken(frames, broken_frames)]):
            sender.send(frame)
            if number % _BURST == 0:
                time.sleep(0.001)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _echo_datagrams(datagrams: socket.socket) -> None:
    while True:
        data, sender = datagrams.recvfrom(1 << 16)
        datagrams.sendto(data, sender)


def _return_bytes(connection: socket.socket) -> None:
    with connection:
        received = 0
        while part := connection.recv(1 << 20):
            received += len(part)
        connection.sendall(bytes(received))


if __name__ == "__main__":
    main()
