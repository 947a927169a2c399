# SPDX-License-Identifier: Apache-2.0
"""
One HTTP connection without blocking: a request, its response, the end (RFC 9112).

`http.server` needs a thread per connection and takes 2 MB. This serves GET and HEAD and evaluates only the
request line, and whether the client takes gzip. Everything is bounded: the bytes of the request, the seconds
of each step, the bytes that wait to be sent.
"""

import re
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

LONGEST_REQUEST = 8192
"""Bytes of a request line and its headers."""

REQUEST_S, RESPONSE_S, CLOSE_S = 5.0, 30.0, 1.0
"""How long a client may take to send the request, to read the response, and to close after it."""

# A part of a body is sent once it has this many bytes, or took this long to render.
_PART_BYTES, _PART_S = 1 << 16, 0.002
# SO_LINGER: close with a reset, so that no client takes a truncated response for a whole one.
_RESET = struct.pack("ii", 1, 0)

_REQUEST_LINE = re.compile(rb"([A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.(\d)\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_ACCEPT_ENCODING = re.compile(rb"\naccept-encoding:([^\r\n]*)", re.IGNORECASE)
_GZIP = re.compile(rb"(?:x-)?gzip(?:;q=(?:1(?:\.0*)?|0?\.0*[1-9][0-9]*))?", re.IGNORECASE)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Response(NamedTuple):
    """The response to a path: its body is a text, or pieces that are rendered when they can be sent."""

    code: int
    body: str | Iterator[bytes]
    content_type: str = "text/plain; charset=utf-8"


class Connection:
    """
    A connection that advances whenever its socket is ready.

    Attributes:
        socket: To wait on.
        advanced_at: When the client last took data, or connected. Monotonic, seconds.
        deadline: When the current step must be done. Monotonic, seconds.

    """

    def __init__(self, accepted: socket.socket, respond: Callable[[str], Response]) -> None:
        """Take over *accepted*; *respond* is called once, with the path."""
        accepted.setblocking(False)
        self.socket = accepted
        self.advanced_at = time.monotonic()
        self.deadline = self.advanced_at + REQUEST_S
        self._respond = respond
        self._request = b""
        self._parts: Iterator[bytes] = iter(())
        self._unsent = memoryview(b"")
        self._step = self._read

    def advance(self) -> int:
        """
        Do what can be done without blocking.

        Returns:
            The event to wait for; 0 at the end.

        Raises:
            OSError: The client is gone; BlockingIOError: the socket is not ready.

        """
        return self._step()

    def close(self) -> None:
        """Close it; a response that is not complete ends with a reset."""
        if self._step == self._write:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def _read(self) -> int:
        received = self.socket.recv(LONGEST_REQUEST)
        self._request = (self._request + received).lstrip(b"\r\n")
        line = _REQUEST_LINE.match(self._request)
        if not received:
            return 0
        if _END.search(self._request) and line:
            self._parts = self._response(*line.groups(), gzip=_takes_gzip(self._request))
        elif not line and b"\n" in self._request:
            self._parts = _encoded(Response(400, "not an HTTP/1 request\n"))
        elif len(self._request) >= LONGEST_REQUEST:
            self._parts = _encoded(Response(431 if line else 414, f"longer than {LONGEST_REQUEST} bytes\n"))
        else:
            return EVENT_READ
        self._request = b""
        self.deadline = time.monotonic() + RESPONSE_S
        self._step = self._write
        return self._write()

    def _response(self, method: bytes, target: bytes, minor: bytes, *, gzip: bool) -> Iterator[bytes]:
        if method not in (b"GET", b"HEAD"):
            return _encoded(Response(405, "GET or HEAD\n"))
        path = target.partition(b"?")[0].decode()
        response = self._respond(path)
        return _encoded(response, bodiless=method == b"HEAD", chunked=minor != b"0", gzip=gzip)

    def _write(self) -> int:
        self._unsent = self._unsent or memoryview(next(self._parts, b""))
        if self._unsent:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
            self.advanced_at = time.monotonic()
            return EVENT_WRITE
        # Read what the client still sends: left unread, it would turn the close into a reset.
        self.socket.shutdown(socket.SHUT_WR)
        self.deadline = time.monotonic() + CLOSE_S
        self._step = self._drain
        return EVENT_READ

    def _drain(self) -> int:
        return EVENT_READ if self.socket.recv(1 << 16) else 0


def _takes_gzip(request: bytes) -> bool:
    """Return whether a client takes a body in gzip (RFC 9110, section 12.5.3)."""
    accepted = b",".join(_ACCEPT_ENCODING.findall(request)).split(b",")
    return any(_GZIP.fullmatch(coding.translate(None, b" \t")) for coding in accepted)


def _encoded(
    response: Response, *, bodiless: bool = False, chunked: bool = False, gzip: bool = False
) -> Iterator[bytes]:
    """
    Yield a response as it is sent.

    Only a *chunked* one lets a client detect that its end is missing. Pieces are compressed by *gzip*: they
    may be many.
    """
    code, body, content_type = response
    head = [f"HTTP/1.1 {code} {_REASONS[code]}", f"Content-Type: {content_type}", "Connection: close"]
    head += ["Allow: GET, HEAD"] if code == 405 else []
    if isinstance(body, str):
        whole = body.encode(errors="replace")
        yield _lines(*head, f"Content-Length: {len(whole)}") + (b"" if bodiless else whole)
        return
    head += ["Vary: Accept-Encoding", *(["Content-Encoding: gzip"] if gzip else [])]
    yield _lines(*head, *(["Transfer-Encoding: chunked"] if chunked else []))
    for part in () if bodiless else _gathered(_compressed(body) if gzip else body):
        yield b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
    if chunked and not bodiless:
        yield b"0\r\n\r\n"


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    # Level 1 makes a page a quarter to an eighth as long; the default takes twice the time for a fifth less.
    gzip = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        yield gzip.compress(piece)
    yield gzip.flush()


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield many small pieces as few parts."""
    part = bytearray()
    began = time.monotonic()
    for piece in pieces:
        part += piece
        if len(part) >= _PART_BYTES or (part and time.monotonic() - began >= _PART_S):
            yield bytes(part)
            part.clear()
            began = time.monotonic()
    if part:
        yield bytes(part)
