# SPDX-License-Identifier: Apache-2.0
"""A real gRPC server that answers as it is told and adds up as the Collector does, and a tap on its wire."""

import contextlib
import os
import socket
import subprocess
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from sidecar.otlp_endpoint import Endpoint
from sidecar.otlp_push import Pusher

_SERVICE = metrics_service_pb2.DESCRIPTOR.services_by_name["MetricsService"].full_name


@dataclass(frozen=True)
class Answer:
    """What happens to one request; with *hangs* nothing is said until the client gives up."""

    code: grpc.StatusCode
    details: str
    counts: bool
    hangs: bool
    body: bytes
    trailers: tuple


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    body: bytes
    metadata: dict
    peer: str


@dataclass(frozen=True)
class Window:
    """One delta point that was counted."""

    start_ns: int
    end_ns: int
    count: int


class Collector(grpc.GenericRpcHandler):
    """
    The server, and the books that it keeps.

    It adds up as `deltatocumulative` of the Collector does: a delta point whose time is not newer than the
    stream's last, or whose start is older than the stream's first, is dropped; any other is added in full.
    Of cumulative points the newest holds.
    """

    def __init__(self):
        self.port = 0
        self.calls = []
        self.windows = {}
        self._answers = deque()
        self._server = None

    def start(self, credentials=None):
        # Without this option a second server could take the same port.
        server = grpc.server(ThreadPoolExecutor(4), handlers=(self,), options=(("grpc.so_reuseport", 0),))
        address = f"127.0.0.1:{self.port}"
        if credentials:
            self.port = server.add_secure_port(address, credentials)
        else:
            self.port = server.add_insecure_port(address)
        server.start()
        self._server = server

    def stop(self):
        self._server.stop(None).wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def will(
        self, code=grpc.StatusCode.OK, details="", *, counts=None, hangs=False, body=b"", trailers=(), times=1
    ):
        """Answer the next *times* requests that no answer is prepared for like this; after them, OK."""
        counts = code is grpc.StatusCode.OK and not hangs if counts is None else counts
        self._answers.extend([Answer(code, details, counts, hangs, body, trailers)] * times)

    def forget(self):
        """Lose its state, as at a restart."""
        self.windows.clear()

    def will_be_fine(self):
        """Answer OK from now on, whatever was prepared."""
        self._answers.clear()

    @property
    def bodies(self):
        """The requests in the order of their arrival."""
        return [call.body for call in self.calls]

    def total(self, metric, **attributes):
        """What Prometheus would show for a sum: of all its streams, or of those with these attributes."""
        return sum(
            window.count
            for (_, name, at), windows in self.windows.items()
            if name == metric and set(attributes.items()) <= set(at)
            for window in windows
        )

    def service(self, handler_call_details):
        if handler_call_details.method == f"/{_SERVICE}/Export":
            return grpc.unary_unary_rpc_method_handler(self._export)
        return None

    def _export(self, body, context):
        answer = (
            self._answers.popleft() if self._answers else Answer(grpc.StatusCode.OK, "", True, False, b"", ())
        )
        if answer.counts:
            self._count(body)
        self.calls.append(Call(body, dict(context.invocation_metadata()), context.peer()))
        if answer.hangs:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(30)
        context.set_trailing_metadata(answer.trailers)
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, answer.details)
        return answer.body

    def _count(self, body):
        for stream, point, is_delta in _points(body):
            window = Window(point.start_time_unix_nano, point.time_unix_nano, point.as_int)
            windows = self.windows.setdefault(stream, [])
            if windows and (window.end_ns <= windows[-1].end_ns or window.start_ns < windows[0].start_ns):
                continue
            if not is_delta:
                windows.clear()
            windows.append(window)


def _points(body):
    """Yield stream (resource, metric, attributes), point and whether it is a delta, for each sum's points."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                is_delta = metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
                for point in metric.sum.data_points:
                    stream = (_pairs(resource.resource.attributes), metric.name, _pairs(point.attributes))
                    yield stream, point, is_delta


def _pairs(attributes):
    return tuple((one.key, one.value.string_value) for one in attributes)


class Tap:
    """A TCP forwarder in front of a server: counts what it is sent, and can fail as networks do."""

    def __init__(self, port):
        self.sent_bytes = 0
        self._server_port = port
        self._open = []
        self._swallowed = set()
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)

    def swallow(self):
        """Lose, without a word, all that the open connections carry from now on; new ones pass."""
        self._swallowed.update(self._open)

    def cut(self):
        """End every open connection."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._open):
            one.close()

    def _spawn(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += (client, server)
                self._spawn(self._pump, client, server, True)
                self._spawn(self._pump, server, client, False)

    def _pump(self, source, sink, from_client):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent_bytes += len(data) if from_client else 0
                if source not in self._swallowed:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _no_otel_variables(monkeypatch):
    """The variables of whoever runs the tests are not the tests' variables."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def new_collector():
    """Make a Collector, to be started by `with`."""
    return Collector


@pytest.fixture
def collector():
    """A Collector that listens."""
    with Collector() as running:
        yield running


@pytest.fixture
def tap(collector):
    """A tap in front of the Collector."""
    with contextlib.closing(Tap(collector.port)) as running:
        yield running


@pytest.fixture
def dial():
    """Make a Pusher for a port of this machine, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(port, *, secure=False, **options):
            pusher = Pusher(Endpoint(f"localhost:{port}", secure, **options))
            stack.callback(pusher.close)
            return pusher

        yield make


@dataclass(frozen=True)
class Authority:
    """A certificate authority of its own, with a server's and a client's certificate; PEM files."""

    ca: str
    server_key: str
    server: str
    client_key: str
    client: str


@pytest.fixture(scope="session")
def authorities(tmp_path_factory):
    """Two authorities that know nothing of each other."""
    return [_make_authority(tmp_path_factory.mktemp("authority")) for _ in range(2)]


def _make_authority(directory):
    def openssl(*arguments):
        command = ["openssl", "req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", *arguments]
        curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
        subprocess.run([*command, *curve], check=True, capture_output=True, cwd=directory)

    openssl("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority")
    for name in ("server", "client"):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:false")
        host = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost")
        openssl("-keyout", f"{name}.key", "-out", f"{name}.pem", *host, *signed)
    return Authority(
        *(
            str(directory / name)
            for name in ("ca.pem", "server.key", "server.pem", "client.key", "client.pem")
        )
    )
