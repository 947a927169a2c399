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

from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp_push import Pusher
from tests.wire.books import Books

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


class Collector(Books, grpc.GenericRpcHandler):
    """The server, and the books that it keeps."""

    def __init__(self):
        super().__init__()
        self.port = 0
        self.calls = []
        self._answers = deque()
        self._server = self._pool = None

    def start(self, credentials=None):
        # Without this option a second server could take the same port.
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
        # Its threads would stay until somebody collects them.
        self._pool.shutdown()

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

    def will_be_fine(self):
        """Answer OK from now on, whatever was prepared."""
        self._answers.clear()

    @property
    def bodies(self):
        """The requests in the order of their arrival."""
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
        if answer.hangs:
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(30)
        context.set_trailing_metadata(answer.trailers)
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, answer.details)
        return answer.body


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
