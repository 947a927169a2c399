# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server that accepts every OTLP request, for the sidecar and its reference alike."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc

_METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Receiver(grpc.GenericRpcHandler):
    """Responds OK, with an empty message, and counts."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0
        self.last_bytes = 0
        self.last_at = 0.0
        self._came = threading.Condition()
        options = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))
        self._server = grpc.server(ThreadPoolExecutor(1), handlers=[self], options=options)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of the only method."""
        if handler_call_details.method != _METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, request: bytes, _: object) -> bytes:
        with self._came:
            self.requests += 1
            self.bytes += len(request)
            self.last_bytes = len(request)
            self.last_at = time.monotonic()
            self._came.notify_all()
        return b""

    def wait(self, until: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until *until* is true, checked after each request; raises TimeoutError."""
        with self._came:
            if not self._came.wait_for(until, timeout_s):
                raise TimeoutError(f"no request came for {timeout_s:.0f} s")

    def __enter__(self) -> "Receiver":
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()
