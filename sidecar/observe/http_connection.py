# SPDX-License-Identifier: Apache-2.0
"""
One HTTP connection, served without ever waiting: a request, its answer, the end (RFC 9112).

`http.server` has a thread for each connection and takes 2 MB; this takes GET and HEAD, and nothing of a
request but its first line. All of it is bounded: bytes of the request, seconds of each step, bytes that wait
to be sent.
"""

import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

LONGEST_REQUEST = 8192
"""Bytes of a request line and its headers."""

REQUEST_S, ANSWER_S, CLOSE_S = 5.0, 30.0, 1.0
"""How long a client may take to ask, to read the answer, and to close after it."""

# A part of a body is sent once it has so many bytes, or took so long to make.
_PART_BYTES, _PART_S = 1 << 16, 0.002
# SO_LINGER: close by a reset, so who reads an answer that was cut never takes it for a whole one.
_RESET = struct.pack("ii", 1, 0)

_REQUEST_LINE = re.compile(rb"([A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.(\d)\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What a path is answered: a text, or its pieces, which are asked for when there is room for them."""

    code: int
    body: str | Iterator[str]
    content_type: str = "text/plain; charset=utf-8"


class Connection:
    """
    A connection that goes on whenever its socket can.

    Attributes:
        socket: To wait on.
        moved: When the client last took something; until it has asked, when it came. Monotonic, seconds.
        deadline: When its present step has to be done.

    """

    def __init__(self, accepted: socket.socket, answer: Callable[[str], Answer]) -> None:
        """Take over *accepted*; *answer* is asked once for what is at a path."""
        accepted.setblocking(False)
        self.socket = accepted
        self.moved = time.monotonic()
        self.deadline = self.moved + REQUEST_S
        self._answer = answer
        self._request = b""
        self._parts: Iterator[bytes] = iter(())
        self._unsent = memoryview(b"")
        self._step = self._read

    def move(self) -> int:
        """
        Do what can be done now.

        Returns:
            Which event to wait for; 0: it is over.

        Raises:
            OSError: The client is gone; BlockingIOError: nothing can be done yet.

        """
        return self._step()

    def close(self) -> None:
        """End it, whatever is under way."""
        if self._step == self._write:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def _read(self) -> int:
        got = self.socket.recv(LONGEST_REQUEST)
        self._request = (self._request + got).lstrip(b"\r\n")
        line = _REQUEST_LINE.match(self._request)
        if not got:
            return 0
        if _END.search(self._request) and line:
            self._parts = self._asked(*line.groups())
        elif not line and b"\n" in self._request:
            self._parts = _said(Answer(400, "no request of HTTP/1\n"))
        elif len(self._request) >= LONGEST_REQUEST:
            self._parts = _said(Answer(431 if line else 414, f"more than {LONGEST_REQUEST} bytes\n"))
        else:
            return EVENT_READ
        self._request = b""
        self.deadline = time.monotonic() + ANSWER_S
        self._step = self._write
        return self._write()

    def _asked(self, method: bytes, target: bytes, minor: bytes) -> Iterator[bytes]:
        if method not in (b"GET", b"HEAD"):
            return _said(Answer(405, "GET or HEAD\n"))
        path = target.partition(b"?")[0].decode()
        return _said(self._answer(path), bodiless=method == b"HEAD", chunked=minor != b"0")

    def _write(self) -> int:
        self._unsent = self._unsent or memoryview(next(self._parts, b""))
        if self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
            self.moved = time.monotonic()
            return EVENT_WRITE
        # What the client still says is read to its end: unread, it would make the end a reset.
        self.socket.shutdown(socket.SHUT_WR)
        self.deadline = time.monotonic() + CLOSE_S
        self._step = self._drain
        return EVENT_READ

    def _drain(self) -> int:
        return EVENT_READ if self.socket.recv(1 << 16) else 0


def _said(answer: Answer, *, bodiless: bool = False, chunked: bool = False) -> Iterator[bytes]:
    """Yield an answer as it is sent; only a *chunked* one tells its end, and a lost one too."""
    code, body, content_type = answer
    head = [f"HTTP/1.1 {code} {_REASONS[code]}", f"Content-Type: {content_type}", "Connection: close"]
    head += ["Allow: GET, HEAD"] if code == 405 else []
    if isinstance(body, str):
        whole = body.encode(errors="replace")
        yield _lines(*head, f"Content-Length: {len(whole)}") + (b"" if bodiless else whole)
        return
    yield _lines(*head, *(["Transfer-Encoding: chunked"] if chunked else []))
    for part in () if bodiless else _gathered(body):
        yield b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
    if chunked and not bodiless:
        yield b"0\r\n\r\n"


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _gathered(pieces: Iterator[str]) -> Iterator[bytes]:
    """Yield many small pieces as few parts."""
    part = bytearray()
    began = time.monotonic()
    for piece in pieces:
        part += piece.encode(errors="replace")
        if len(part) >= _PART_BYTES or time.monotonic() - began >= _PART_S:
            yield bytes(part)
            part.clear()
            began = time.monotonic()
    if part:
        yield bytes(part)
