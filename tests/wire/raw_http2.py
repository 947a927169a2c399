# SPDX-License-Identifier: Apache-2.0
"""A counting receiver with responses that no gRPC server sends, but proxies and attackers do."""

import base64
import urllib.parse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from chaos.http2 import OK_HEADERS, Server, Stream
from tests.wire.books import Books

Respond = Callable[[Stream], None]

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\nERROR all is lost\u2028\u202eexe.fdp\0"
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def _ok(message=b"", *trailers, piece=16384) -> Respond:
    def respond(stream):
        stream.headers(*OK_HEADERS, piece=piece)
        stream.message(message)
        stream.headers(("grpc-status", "0"), *trailers, end=True, piece=piece)

    return respond


def _partial(rejected, text="") -> Respond:
    partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=text)
    return _ok(ExportMetricsServiceResponse(partial_success=partial).SerializeToString())


def status(code, *trailers) -> Respond:
    """A trailers-only response: a status and no message."""
    return _only(("grpc-status", str(code.value[0])), *trailers)


def _only(*trailers) -> Respond:
    return lambda stream: stream.headers(*OK_HEADERS, *trailers, end=True)


def _begin(stream):
    stream.headers(*OK_HEADERS)


def _end(stream):
    stream.headers(("grpc-status", "0"), end=True)


def _reset(code) -> Respond:
    return lambda stream: stream.reset(code)


def _go_away(code, **more) -> Respond:
    return lambda stream: stream.go_away(code, **more)


def _with_message(code, text) -> Respond:
    return status(code, ("grpc-message", urllib.parse.quote(text, safe=" ")))


def _retry_after(code, seconds) -> Respond:
    info = RetryInfo(retry_delay=Duration(seconds=seconds))
    details = Status(code=code.value[0])
    details.details.add().Pack(info)
    return status(code, _binary(details.SerializeToString()))


def _binary(data):
    return ("grpc-status-details-bin", base64.b64encode(data).decode().rstrip("="))


def _http(code, body=b"", kind="text/html") -> Respond:
    def respond(stream):
        stream.headers((":status", str(code)), ("content-type", kind), end=not body)
        stream.data(body, end=True)

    return respond


def _then(*steps) -> Respond:
    def respond(stream):
        for step in steps:
            step(stream)

    return respond


def _half(stream):
    stream.headers(*OK_HEADERS)
    stream.data(b"\0\0\0\0")
    stream.hang_up()


ACKNOWLEDGEMENTS: dict[str, Respond] = {
    "OK": _ok(),
    "OK, headers split": _ok(b"", piece=5),
    "OK with a grpc-message": _ok(b"", ("grpc-message", "all%20is%20well")),
    "-5 points rejected": _partial(-5),
    "2^62 points rejected": _partial(2**62, "more than there are"),
    "points rejected, with a long text": _partial(1, EVIL * 2000),
    "none rejected, with a long text": _partial(0, EVIL * 2000),
    "a field that nobody knows": _ok(b"\x7a\x03new"),
}
"""Well-formed, if odd: the points were accepted."""

RETRYABLE: dict[str, Respond] = {
    "no answer": lambda _: None,
    "half an answer": _half,
    "hangs up": Stream.hang_up,
    "two messages": _then(
        _begin, lambda stream: stream.message(b""), lambda stream: stream.message(b""), _end
    ),
    "HTTP 429": _http(429),
    "HTTP 502": _http(502),
    "HTTP 502 with a page": _http(502, HTML),
    "HTTP 503": _http(503),
    "RST_STREAM(7)": _reset(7),
    "RST_STREAM(8)": _reset(8),
    "GOAWAY(0)": _go_away(0),
    "GOAWAY(0), not processed": _go_away(0, processed=False),
    "GOAWAY(11), not processed": _go_away(11, processed=False),
    "GOAWAY(2), evil text": _go_away(2, debug=EVIL.encode()),
    "UNAVAILABLE, evil text": _with_message(StatusCode.UNAVAILABLE, EVIL),
    **{f"RetryInfo {seconds} s": _retry_after(StatusCode.UNAVAILABLE, seconds) for seconds in (0, -5, 10**9)},
    "RESOURCE_EXHAUSTED with RetryInfo": _retry_after(StatusCode.RESOURCE_EXHAUSTED, 2),
    "UNAVAILABLE, garbage as details": status(StatusCode.UNAVAILABLE, _binary(b"\xff" * 50)),
}
"""The specification allows a retry with the same bytes, so plain delta loses nothing either."""

REFUSALS: dict[str, Respond] = {
    "OK without a message": status(StatusCode.OK),
    "OK, and then no message": _then(_begin, _end),
    "OK with 20 kB of trailers": _ok(b"", ("x-chatty", "y" * 20_000)),
    "OK over 4 MiB": _partial(0, "y" * (5 << 20)),
    "OK, cannot be decoded": _ok(b"\xff\xff\xff"),
    "OK, without a status": _then(_begin, lambda stream: stream.message(b"", end=True)),
    "a status that is no number": _only(("grpc-status", "x")),
    "a status that nobody knows": _only(("grpc-status", "99")),
    "details that are no base64": status(StatusCode.UNAVAILABLE, ("grpc-status-details-bin", "%%%")),
    "evil text": _with_message(StatusCode.INVALID_ARGUMENT, EVIL),
    "100 kB of evil text": _with_message(StatusCode.INVALID_ARGUMENT, EVIL * 2000),
    **{f"HTTP {code}": _http(code) for code in (400, 401, 403, 404, 500)},
    "HTTP 500 with a page": _http(500, HTML),
    "HTTP 200 with a page": _http(200, HTML),
    **{f"RST_STREAM({code})": _reset(code) for code in range(14) if code not in (7, 8)},
    **{
        code.name: status(code)
        for code in (
            StatusCode.UNAUTHENTICATED,
            StatusCode.PERMISSION_DENIED,
            StatusCode.INVALID_ARGUMENT,
            StatusCode.UNIMPLEMENTED,
            StatusCode.NOT_FOUND,
            StatusCode.RESOURCE_EXHAUSTED,
            StatusCode.UNKNOWN,
            StatusCode.INTERNAL,
        )
    },
}
"""Everything else: no acknowledgement, and the specification forbids a retry."""

ANSWERS = {**ACKNOWLEDGEMENTS, **RETRYABLE, **REFUSALS}


@dataclass(frozen=True)
class Reply:
    """The outcome of one request: counted or not, and the response."""

    name: str
    counts: bool = True

    @property
    def value(self):
        """This reply as an act of a history."""
        return ("reply", self)


class RawCollector(Books):
    """
    The server, its script and its books.

    Attributes:
        bodies: The requests in order of arrival.

    """

    def __init__(self):
        super().__init__()
        self.bodies = []
        self._script = deque()
        self._server = None

    @property
    def port(self):
        return self._server.port

    def reply(self, reply, *, times=1):
        """Queue this reply *times* times; after the queue, the reply is OK."""
        self._script.extend([(reply.counts, ANSWERS[reply.name])] * times)

    def will(self, code=StatusCode.OK, *, counts=None, hangs=False):
        """Queue a response, with the signature of `Collector.will`."""
        counts = code is StatusCode.OK if counts is None else counts
        respond = RETRYABLE["no answer"] if hangs else status(code)
        self._script.append((counts, respond))

    def will_be_fine(self):
        """Discard the queue: respond OK from now on."""
        self._script.clear()

    def _answer(self, stream, body):
        counts, respond = self._script.popleft() if self._script else (True, ACKNOWLEDGEMENTS["OK"])
        self.bodies.append(body)
        if counts:
            self.count(body)
        respond(stream)

    def __enter__(self):
        self._server = Server(self._answer)
        return self

    def __exit__(self, *_):
        self._server.close()
