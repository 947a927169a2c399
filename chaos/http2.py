# SPDX-License-Identifier: Apache-2.0
"""
An HTTP/2 server that can send what no gRPC server sends: any frames in any order, valid or not.

Frames by RFC 9113; of HPACK (RFC 7541) only literals without indexing, which need no state. Serves
uncompressed unary gRPC calls of any method.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Pair = tuple[str, str]

OK_HEADERS: tuple[Pair, ...] = ((":status", "200"), ("content-type", "application/grpc"))

_PREFACE_BYTES = 24
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW = 4
_FRAME_BYTES = 16384
_PREFIX_BYTES = 5  # of a gRPC message: compressed flag and length


class _GoneError(Exception):
    """The client has reset this stream."""


class Stream:
    """One call, which can be answered in any way."""

    def __init__(self, connection: "_Connection", number: int) -> None:
        self._connection = connection
        self._number = number

    def headers(self, *pairs: Pair, end: bool = False, piece: int = _FRAME_BYTES) -> None:
        """Send headers or trailers in frames of *piece* bytes; *end* ends the response."""
        block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in pairs)
        cut = [block[at : at + piece] for at in range(0, len(block), piece)] or [b""]
        for number, part in enumerate(cut):
            flags = (_END_HEADERS if number == len(cut) - 1 else 0) | (
                _END_STREAM if end and not number else 0
            )
            self._connection.send(_CONTINUATION if number else _HEADERS, flags, self._number, part)

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Send data as fast as flow control allows."""
        self._connection.send_data(self._number, data, end=end)

    def message(self, message: bytes, *, end: bool = False) -> None:
        """Send one gRPC message."""
        self.data(b"\0" + len(message).to_bytes(4, "big") + message, end=end)

    def reset(self, code: int) -> None:
        """End the stream with RST_STREAM."""
        self._connection.send(_RESET, 0, self._number, code.to_bytes(4, "big"))

    def go_away(self, code: int, *, processed: bool = True, debug: bytes = b"") -> None:
        """Send GOAWAY, with or without this call as the last processed one; then close the connection."""
        last = self._number if processed else 0
        self._connection.send(_GO_AWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection at once."""
        raise ConnectionError


class Server:
    """Listens on its own port on 127.0.0.1; *answer* gets the stream and message of each call."""

    def __init__(self, answer: Callable[[Stream, bytes], None]) -> None:
        self._answer = answer
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def close(self) -> None:
        """Close all connections and stop listening."""
        _shut(self._listener)
        self._threads[0].join()
        for connection in self._open:
            _shut(connection)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _spawn(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            connection = _Connection(client)
            while True:
                number, message = connection.request()
                with suppress(_GoneError):
                    self._answer(Stream(connection, number), message)


class _Connection:
    """Sends and receives frames, with flow control."""

    def __init__(self, client: socket.socket) -> None:
        self._socket = client
        # A response is several frames: none may wait for the client's ACK.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = client.makefile("rb")
        self._initial_window = 65535
        self._window = 65535
        self._windows: dict[int, int] = {}
        self._arriving: dict[int, bytes] = {}
        self._requests: deque[tuple[int, bytes]] = deque()
        self._read(_PREFACE_BYTES)
        self.send(_SETTINGS, 0, 0)

    def request(self) -> tuple[int, bytes]:
        """Return stream number and message of the next call; raise OSError at the end of the connection."""
        while not self._requests:
            self._take_frame()
        return self._requests.popleft()

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame."""
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self._socket.sendall(head + payload)

    def send_data(self, stream: int, data: bytes, *, end: bool) -> None:
        """Send DATA frames within the windows; raise _GoneError if the client has reset the stream."""
        while data:
            if stream not in self._windows:
                raise _GoneError
            room = min(_FRAME_BYTES, self._window, self._windows[stream])
            if room <= 0:
                self._take_frame()
                continue
            part, data = data[:room], data[room:]
            self._window -= len(part)
            self._windows[stream] -= len(part)
            self.send(_DATA, _END_STREAM if end and not data else 0, stream, part)

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionError
        return data

    def _take_frame(self) -> None:
        head = self._read(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = self._read(int.from_bytes(head[:3], "big"))
        if kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
            self.send(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            self.send(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE and stream:
            if stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == _WINDOW_UPDATE:
            self._window += int.from_bytes(payload, "big")
        elif kind == _RESET:
            self._windows.pop(stream, None)
        elif kind == _HEADERS:
            self._arriving[stream] = b""
            self._windows[stream] = self._initial_window
        elif kind == _DATA:
            self._take_data(stream, payload, last=bool(flags & _END_STREAM))

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == _INITIAL_WINDOW:
                self._initial_window = int.from_bytes(payload[at + 2 : at + 6], "big")

    def _take_data(self, stream: int, payload: bytes, *, last: bool) -> None:
        if payload:
            for which in (0, stream):
                self.send(_WINDOW_UPDATE, 0, which, len(payload).to_bytes(4, "big"))
        self._arriving[stream] += payload
        if last:
            self._requests.append((stream, self._arriving.pop(stream)[_PREFIX_BYTES:]))


def _literal(text: str) -> bytes:
    """Encode an HPACK string literal without Huffman coding."""
    data = text.encode()
    length, shifted = len(data), bytearray()
    if length < 0x7F:
        return bytes((length,)) + data
    length -= 0x7F
    while length >= 0x80:
        shifted.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((0x7F, *shifted, length)) + data


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
