# SPDX-License-Identifier: Apache-2.0
"""What a proxy from the environment receives: nothing for loopback, and never a token in clear text."""

import contextlib
import socket
import threading

import pytest

from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.outcome import Delivered
from sidecar.otlp_http import HttpPusher
from sidecar.otlp_push import Pusher

HEADERS = (("authorization", "Bearer hunter2"),)


class Proxy:
    """Accepts CONNECT for any host, forwards it to one local port and records what it receives."""

    def __init__(self, to_port):
        self.heads = []
        self.received = b""
        self._to_port = to_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._to_port)) as there,
        ):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.heads.append(head)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._copy, args=(there, client), daemon=True)
            while data := client.recv(65536):
                self.received += data
                if not back.ident:
                    # A server of HTTP/2 speaks first, and a client that expects TLS gives up on what it says.
                    back.start()
                there.sendall(data)

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def close(self):
        self._listening.close()


@pytest.fixture
def proxy(collector, monkeypatch):
    """A proxy named in every environment variable that gRPC reads."""
    running = Proxy(collector.port)
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{running.port}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield running
    running.close()


@pytest.fixture(params=[Pusher, HttpPusher])
def push(request):
    """Return a function that sends one request to an endpoint, by gRPC and by HTTP."""
    path = "/v1/metrics" if request.param is HttpPusher else ""

    def send(target, **options):
        pusher = request.param(Endpoint(target, path=path, **{"secure": False, **options}))
        try:
            return pusher.push(b"", timeout_s=2)
        finally:
            pusher.close()

    return send


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"])
def test_loopback_bypasses_the_proxy(proxy, collector, push, host):
    """The loopback of the proxy's host is a different one."""
    outcome = push(f"{host}:{collector.port}")

    # By HTTP, it was reached too: a server of gRPC alone gives no answer that HTTP/1.1 knows.
    assert outcome == Delivered() or outcome.code == "NO ANSWER"
    assert proxy.heads == []


def test_a_token_is_never_sent_to_a_proxy_in_clear_text(proxy, push):
    """Without TLS, the Collector is reached directly or not at all."""
    outcome = push("collector.invalid:4317", headers=HEADERS)

    assert not isinstance(outcome, Delivered)
    assert (proxy.heads, proxy.received) == ([], b"")


def test_with_tls_a_proxy_sees_only_ciphertext(proxy, push):
    """It learns host and port, nothing else."""
    push("collector.invalid:4317", secure=True, headers=HEADERS)

    assert proxy.heads[0].startswith(b"CONNECT collector.invalid:4317 ")
    assert proxy.received.startswith(b"\x16\x03")  # a TLS handshake
    assert b"hunter2" not in b"".join(proxy.heads) + proxy.received


def test_no_proxy_excludes_an_endpoint(proxy, push, monkeypatch):
    """By its name or its domain."""
    monkeypatch.setenv("no_proxy", "other.example,.invalid")
    push("collector.invalid:4317")

    assert proxy.heads == []


@pytest.mark.parametrize("push", [Pusher], indirect=True)
def test_requests_without_a_secret_may_use_the_proxy(proxy, collector, push):
    """Some networks have no other route out. By HTTP it is asked for the whole URL: see test_http."""
    outcome = push("collector.invalid:4317")

    assert outcome == Delivered()
    assert proxy.heads[0].startswith(b"CONNECT collector.invalid:4317 ")
    assert len(collector.bodies) == 1
