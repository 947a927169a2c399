# SPDX-License-Identifier: Apache-2.0
"""
Send one request by gRPC and read the answer: one call, one outcome.

The table of codes: OTLP specification, section "OTLP/gRPC Response" and "Failures". A code says what the
specification allows, and nothing of whether the request was counted: gRPC makes up codes of its own after
the Collector has answered, and the Collector answers for exporters that fail after others have counted. The
caller decides when to try again; the bytes are the caller's and are sent as they are.
"""

import logging
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar import __version__
from sidecar.errors import ConfigError, printable
from sidecar.otlp.certificates import CertificateFiles
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.lean_grpc import grpc

log = logging.getLogger(__name__)

METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# What gRPC's words for a failed handshake mean.
_HINTS = {
    "certificate has expired": "the Collector's certificate has expired",
    "unable to get local issuer": "the Collector's certificate is of another CA than the one that we trust",
    "Unwrap failed": "does the Collector want a client certificate, or one of another CA?",
    "WRONG_VERSION_NUMBER": "the Collector speaks plaintext here: use http://",
}

# Tag, length, time and value.
_SMALLEST_POINT_BYTES = 20

# SIGTERM to exit takes at most two calls of this long, plus reading and writing: under 5 s.
LAST_TIMEOUT_S = 2.0

_CHANNEL_OPTIONS = (
    # Retries are decided by the delivery rule alone.
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", f"xdp-otel/{__version__}"),
    # It finds out how much may be on its way to us: an answer is a few bytes.
    ("grpc.http2.bdp_probe", 0),
    # Channels share connections otherwise: a new one would go on with the dead connection of the old.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's own pause between dials grows to two minutes: far longer than a Collector's restart.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True)
class Delivered:
    """The Collector has taken the request, but for *rejected* points of it (partial success)."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True)
class Retry:
    """
    The same bytes may be sent again.

    Attributes:
        code: Name of the gRPC status code.
        message: What the other side, or gRPC, said.
        after_s: When, if the Collector said so (RetryInfo), seconds.

    """

    code: str
    message: str
    after_s: float | None = None


@dataclass(frozen=True)
class Rejected:
    """
    The specification forbids to send the same bytes again; whether they were counted, nobody knows.

    Attributes:
        code: Name of the gRPC status code.
        message: What the other side, or gRPC, said.

    """

    code: str
    message: str

    @property
    def too_large(self) -> bool:
        """Whether a smaller request may be taken."""
        return self.code == grpc.StatusCode.RESOURCE_EXHAUSTED.name


Outcome = Delivered | Retry | Rejected


class _Interrupted(BaseException):
    """The call under way is to end."""


class Pusher:
    """A channel to one endpoint. Dials on the first call and again whenever it must."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raise ConfigError if a certificate or key cannot be read."""
        self._endpoint = endpoint
        self._files = CertificateFiles(endpoint)
        self._calling = False
        self._interrupted = False
        self._channel = self._dial()
        self._export = _method(self._channel)

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        """
        Send one serialized ExportMetricsServiceRequest and wait for the answer.

        *timeout_s* shortens the endpoint's own deadline. The deadline is monotonic (gRPC's own clock).
        """
        if self._files.changed():
            self._redial()
        try:
            outcome = self._call(request, timeout_s)
        except _Interrupted:
            return Retry(grpc.StatusCode.CANCELLED.name, "interrupted here")
        if not isinstance(outcome, Delivered) and outcome.code == grpc.StatusCode.DEADLINE_EXCEEDED.name:
            # A connection that was cut without a word swallows every call until TCP gives up.
            self._redial()
        return outcome

    def _call(self, request: bytes, timeout_s: float | None) -> Outcome:
        """Call in this thread: a future would have a thread of its own, which costs as much as the call."""
        self._calling = True
        try:
            limits = [self._endpoint.timeout_s, timeout_s, LAST_TIMEOUT_S if self._interrupted else None]
            body = self._export(
                request,
                timeout=min(limit for limit in limits if limit is not None),
                metadata=self._endpoint.headers,
                compression=grpc.Compression.Gzip if self._endpoint.gzip else None,
            )
            return _answer(body, len(request))
        except grpc.RpcError as error:
            return _failure(error)
        finally:
            self._calling = False

    def interrupt(self) -> None:
        """
        End the call under way, if any, with the outcome Retry; from now on calls are short.

        May be called by a signal handler of the thread that pushes: gRPC looks for signals five times a
        second, and ends a call that their handler leaves by an exception.
        """
        self._interrupted = True
        if self._calling:
            self._calling = False
            raise _Interrupted

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _dial(self) -> grpc.Channel:
        options = (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", int(self._endpoint.may_be_proxied)))
        if not self._endpoint.secure:
            return grpc.insecure_channel(self._endpoint.target, options=options)
        return grpc.secure_channel(self._endpoint.target, self._files.load(), options=options)

    def _redial(self) -> None:
        try:
            channel = self._dial()
        except ConfigError as error:
            # Files that are being replaced: the next change is seen, and until then the old ones do.
            log.warning("%s", error)
            return
        self._channel.close()
        self._channel, self._export = channel, _method(channel)


class Nowhere(Pusher):
    """Takes everything and sends nothing: the counts are scraped from the status endpoint."""

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:  # noqa: ARG002
        """Return that it was delivered."""
        return Delivered()


def _method(channel: grpc.Channel) -> Any:
    return channel.unary_unary(METHOD)  # bytes in, bytes out: no serializer


def _answer(body: bytes | None, request_bytes: int) -> Delivered | Rejected:
    """Return what a call with the status OK comes to: an acknowledgement only if there is a message."""
    if body is None:
        return Rejected(grpc.StatusCode.INTERNAL.name, "the answer is OK but has no message")
    try:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Rejected(grpc.StatusCode.INTERNAL.name, "the answer is OK but cannot be decoded")
    # Not more points than there can have been, and not fewer than none.
    rejected = min(max(partial.rejected_data_points, 0), request_bytes // _SMALLEST_POINT_BYTES)
    return Delivered(rejected, _words(partial.error_message))


def _failure(error: Any) -> Retry | Rejected:
    code: grpc.StatusCode = error.code()
    message = _words(error.details() or "no reason given")
    hint = next((hint for words, hint in _HINTS.items() if words in message), None)
    message = f"{message} ({hint})" if hint else message
    after_s = _retry_info(error.trailing_metadata() or ())
    if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and after_s is not None):
        return Retry(code.name, message, after_s)
    return Rejected(code.name, message)


def _words(text: str) -> str:
    """Return what the other side said as something that is safe to log."""
    return printable(" ".join(text.split()))


def _retry_info(trailers: Any) -> float | None:
    """Return the seconds of a google.rpc.RetryInfo in `grpc-status-details-bin`, or None."""
    details = next((value for key, value in trailers if key == "grpc-status-details-bin"), None)
    if details is None:
        return None
    # Needed only on this rare path, and not free in memory.
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415
    from google.rpc.status_pb2 import Status  # noqa: PLC0415

    info = RetryInfo()
    try:
        found = any(detail.Unpack(info) for detail in Status.FromString(details).details)
    except DecodeError:
        return None
    return max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9) if found else None
