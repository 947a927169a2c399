# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server with scripted responses that adds up points as the Collector does."""

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from tests.wire.books import Books

_SERVICE = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"].full_name


@dataclass(frozen=True)
class Answer:
    """The response to one request; with *hangs*, none until the client gives up."""

    code: grpc.StatusCode
    details: str
    counts: bool
    hangs: bool
    body: bytes
    trailers: tuple


@dataclass(frozen=True)
class Call:
    """One request as received."""

    body: bytes
    metadata: dict
    peer: str


class Collector(Books, grpc.GenericRpcHandler):
    """The server and its books."""

    def __init__(self):
        super().__init__()
        self.port = 0
        self.calls = []
        self.takes_s = 0.0
        self._answers = deque()
        self._server = self._pool = None

    def start(self, credentials=None):
        # With SO_REUSEPORT, a second server could bind the same port.
        self._pool = ThreadPoolExecutor(4)
        server = grpc.server(self._pool, handlers=(self,), options=(("grpc.so_reuseport", 0),))
        address = f"127.0.0.1:{self.port}"
        if credentials:
            self.port = server.add_secure_port(address, credentials)
        else:
            self.port = server.add_insecure_port(address)
        server.start()
        self._server = server

    def stop(self):
        self._server.stop(None).wait()
        # Otherwise its threads live until garbage collection.
        self._pool.shutdown()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def will(
        self, code=grpc.StatusCode.OK, details="", *, counts=None, hangs=False, body=b"", trailers=(), times=1
    ):
        """Queue this response *times* times; after the queue, the response is OK."""
        counts = code is grpc.StatusCode.OK and not hangs if counts is None else counts
        self._answers.extend([Answer(code, details, counts, hangs, body, trailers)] * times)

    def will_be_fine(self):
        """Discard the queue: respond OK from now on."""
        self._answers.clear()

    @property
    def bodies(self):
        """The requests in order of arrival."""
        return [call.body for call in self.calls]

    def service(self, handler_call_details):
        if handler_call_details.method == f"/{_SERVICE}/Export":
            return grpc.unary_unary_rpc_method_handler(self._export)
        return None

    def _export(self, body, context):
        answer = (
            self._answers.popleft() if self._answers else Answer(grpc.StatusCode.OK, "", True, False, b"", ())
        )
        if answer.counts:
            self.count(body)
        self.calls.append(Call(body, dict(context.invocation_metadata()), context.peer()))
        time.sleep(self.takes_s)
        if answer.hangs:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(30)
        context.set_trailing_metadata(answer.trailers)
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, answer.details)
        return answer.body
