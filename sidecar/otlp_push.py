# SPDX-License-Identifier: Apache-2.0
"""
Send one request by gRPC and read the response: one call, one outcome.

The table of codes is that of the OTLP specification, sections "OTLP/gRPC Response" and "Failures". A code
defines what a client may do next, not whether the request was counted: gRPC generates codes of its own after
the Collector has responded, and the Collector reports the failure of one exporter after others have counted.
The caller decides when to retry; its bytes are sent unchanged.
"""

import logging
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from sidecar import __version__
from sidecar.errors import ConfigError
from sidecar.otlp.certificates import CertificateFiles
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.explain import explain, shortened
from sidecar.otlp.lean_grpc import grpc
from sidecar.otlp.one_call import OneCall
from sidecar.otlp.outcome import Delivered, Outcome, Rejected, Retry
from sidecar.otlp.response import acknowledgement, one_line

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
_CHANNEL_OPTIONS = (
    # Only the delivery rule decides on retries.
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", f"xdp-otel/{__version__}"),
    # Bandwidth probes serve large responses; ours are a few bytes.
    ("grpc.http2.bdp_probe", 0),
    # Otherwise channels share connections: a new one would use the dead connection of the old.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's backoff between dials grows to two minutes: far longer than a Collector's restart.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


class Pusher:
    """A channel to one endpoint. Dials on the first call, and again when the connection is lost."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raise ConfigError if a certificate or key cannot be read."""
        self._endpoint = endpoint
        self._files = CertificateFiles(endpoint)
        self._one_call = OneCall(endpoint.timeout_s)
        self._channel = self._dial()
        self._export = _method(self._channel)

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        """
        Send one serialized ExportMetricsServiceRequest and wait for the response.

        *timeout_s* shortens the endpoint's deadline, which is monotonic (gRPC's clock).
        """
        if self._files.changed():
            self._redial()
        outcome = self._one_call.make(partial(self._call, request), timeout_s)
        if not isinstance(outcome, Delivered) and outcome.code == grpc.StatusCode.DEADLINE_EXCEEDED.name:
            # A connection that was cut silently swallows every call until TCP gives up.
            self._redial()
        return outcome

    def interrupt(self) -> None:
        """
        End the call under way, if any, with the outcome Retry; from now on calls are short.

        A signal handler of the thread that pushes may call it: gRPC checks for signals five times a second,
        and ends the call if a handler raises.
        """
        self._one_call.interrupt()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, request: bytes, timeout_s: float) -> Outcome:
        """Call in this thread: a future would start another, which costs as much as the call."""
        try:
            body = self._export(
                request,
                timeout=timeout_s,
                metadata=self._endpoint.headers,
                compression=grpc.Compression.Gzip if self._endpoint.gzip else None,
            )
        except grpc.RpcError as error:
            return _failure(error, secure=self._endpoint.secure)
        return _success(body, len(request))

    def _dial(self) -> grpc.Channel:
        options = (*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", int(self._endpoint.may_be_proxied)))
        if not self._endpoint.secure:
            return grpc.insecure_channel(self._endpoint.target, options=options)
        pem = self._files.read()
        credentials = grpc.ssl_channel_credentials(pem.roots, pem.key, pem.chain)
        return grpc.secure_channel(self._endpoint.target, credentials, options=options)

    def _redial(self) -> None:
        try:
            channel = self._dial()
        except ConfigError as error:
            # The files are being replaced: keep the old channel until the next change.
            log.warning("%s", error)
            return
        self._channel.close()
        self._channel, self._export = channel, _method(channel)


def _method(channel: grpc.Channel) -> Any:
    return channel.unary_unary(METHOD)  # bytes in, bytes out: no serializer


def _success(body: bytes | None, request_bytes: int) -> Delivered | Rejected:
    """Return the outcome of a call with status OK: an acknowledgement only if it has a valid message."""
    if body is None:
        return Rejected(grpc.StatusCode.INTERNAL.name, "the response is OK but has no message")
    acknowledged = acknowledgement(body, request_bytes)
    return acknowledged or Rejected(grpc.StatusCode.INTERNAL.name, "the response is OK but cannot be decoded")


def _failure(error: Any, *, secure: bool) -> Retry | Rejected:
    code: grpc.StatusCode = error.code()
    details = one_line(error.details() or "no reason given")
    cause, remedy = explain(code.name, details, secure=secure)
    message, after_s = shortened(details), _retry_info(error.trailing_metadata() or ())
    if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and after_s is not None):
        return Retry(code.name, message, after_s, cause, remedy)
    return Rejected(code.name, message, cause, remedy)


def _retry_info(trailers: Any) -> float | None:
    """Return the seconds of a google.rpc.RetryInfo in `grpc-status-details-bin`, or None."""
    details = next((value for key, value in trailers if key == "grpc-status-details-bin"), None)
    if details is None:
        return None
    # Only this rare path needs them, and they take memory.
    from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415
    from google.rpc.status_pb2 import Status  # noqa: PLC0415

    info = RetryInfo()
    try:
        has_info = any(detail.Unpack(info) for detail in Status.FromString(details).details)
    except DecodeError:
        return None
    return max(0.0, info.retry_delay.seconds + info.retry_delay.nanos / 1e9) if has_info else None
