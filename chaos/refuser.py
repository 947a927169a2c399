# SPDX-License-Identifier: Apache-2.0
"""
A Collector that refuses on demand: a gRPC server in front of the real Collector.

Each request takes the next answer from the script; with an empty script it is forwarded, and so is the
response. A refusal comes either instead of forwarding the request (not counted) or after it (counted).
"""

import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from chaos.counters import ZERO, add
from demo.prometheus import METRICS
from demo.tap import Counts
from sidecar.otlp_push import METHOD, RETRYABLE

_FIELDS = {f"xdp.{name.removeprefix('xdp_xdp_').replace('_', '.')}": field for field, name in METRICS.items()}
"""OTLP metric name to field."""


@dataclass(frozen=True)
class Answer:
    """
    The outcome of one request.

    Attributes:
        code: The status; OK with *rejected* is a partial success.
        counted: The request is forwarded before it is refused.
        retry_after_s: The delay in a RetryInfo.
        rejected: Points that a partial success rejects.
        padding: Extra bytes in the message of an OK.
        chatter: Extra bytes of trailing metadata.

    """

    code: grpc.StatusCode
    counted: bool = False
    retry_after_s: float | None = None
    rejected: int = 0
    padding: int = 0
    chatter: int = 0

    @property
    def final(self) -> bool:
        """Whether the request is not counted and the specification forbids a retry."""
        if self.counted or self.code is grpc.StatusCode.OK:
            return bool(self.rejected)
        has_retry_info = self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and self.retry_after_s is not None
        return self.code not in RETRYABLE and not has_retry_info


PASS = Answer(grpc.StatusCode.OK)


class Refuser(grpc.GenericRpcHandler):
    """
    The server.

    Attributes:
        port: The port on 127.0.0.1 that it listens on.
        script: The next answers.
        lost: The sum of the batches that got a final answer.

    """

    def __init__(self, target: int) -> None:
        """Start to listen in front of the Collector on port *target*."""
        self.script: deque[Answer] = deque()
        self.lost: Mapping[str, int] = ZERO
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{target}")
        self._forward: Any = self._channel.unary_unary(METHOD)
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self,))
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(None).wait()
        self._channel.close()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of the only method; messages stay bytes."""
        return grpc.unary_unary_rpc_method_handler(self._answer) if details.method == METHOD else None

    def _answer(self, request: bytes, context: Any) -> bytes:
        with self._lock:
            answer = self.script.popleft() if self.script else PASS
            if answer.final:
                self.lost = add(self.lost, deltas(request))
        passed_on = self._pass_on(request, context) if answer is PASS or answer.counted else b""
        if answer.retry_after_s is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", _details(answer)),))
        if answer.chatter:
            context.set_trailing_metadata((("x-chatter", "y" * answer.chatter),))
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, "refused by chaos")
        return _partial(answer) if answer.rejected or answer.padding else passed_on

    def _pass_on(self, request: bytes, context: Any) -> bytes:
        try:
            return bytes(self._forward(request, timeout=5))
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
            raise


def deltas(request: bytes) -> Counts:
    """Return the counts of a request's window: the last point of each metric."""
    counts = dict(ZERO)
    for resource in ExportMetricsServiceRequest.FromString(request).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name in _FIELDS and metric.sum.data_points:
                    counts[_FIELDS[metric.name]] += metric.sum.data_points[-1].as_int
    return counts


def _details(answer: Answer) -> bytes:
    after_ns = int((answer.retry_after_s or 0) * 1e9)
    info = Packed()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=after_ns // 10**9, nanos=after_ns % 10**9)))
    return bytes(Status(code=answer.code.value[0], details=[info]).SerializeToString())


def _partial(answer: Answer) -> bytes:
    text = "by chaos" + "y" * answer.padding
    refused = ExportMetricsPartialSuccess(rejected_data_points=answer.rejected, error_message=text)
    return ExportMetricsServiceResponse(partial_success=refused).SerializeToString()
