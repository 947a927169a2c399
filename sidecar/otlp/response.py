# SPDX-License-Identifier: Apache-2.0
"""The message of a response, which is the same in OTLP/gRPC and OTLP/HTTP (pure)."""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar.errors import printable
from sidecar.otlp.outcome import Delivered

# Tag, length, time and value of a point.
_SMALLEST_POINT_BYTES = 20


def acknowledgement(body: bytes, request_bytes: int) -> Delivered | None:
    """Return what an ExportMetricsServiceResponse says of a request of that size; None if it is none."""
    try:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return None
    # No more points than the request can have held, and no fewer than none.
    rejected = min(max(partial.rejected_data_points, 0), request_bytes // _SMALLEST_POINT_BYTES)
    return Delivered(rejected, one_line(partial.error_message))


def one_line(text: str) -> str:
    """Return the text of the other side on one line that is safe to log."""
    return printable(" ".join(text.split()))
