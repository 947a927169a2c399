# SPDX-License-Identifier: Apache-2.0
"""OTLP/HTTP against a real socket: what is sent, what each answer means, and how long a call may take."""

import contextlib
import gzip
import signal
import socket
import ssl
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.http_answer import CONTENT_TYPE
from sidecar.otlp.outcome import Delivered, Rejected, Retry
from sidecar.otlp_http import HttpPusher
from tests.certificates import authority
from tests.wire.alarms import interrupting, outcomes_at_any_moment
from tests.wire.test_proxy import Proxy

# OTLP specification, "OTLP/HTTP Response", "Retryable Response Codes".
RETRYABLE = (429, 502, 503, 504)
NOT_RETRYABLE = (301, 307, 400, 401, 403, 404, 405, 413, 415, 500, 501, 505)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REQUEST = b"\n\x00" * 50


def answer(code, body=b"", kind=CONTENT_TYPE, *headers):
    lines = [f"HTTP/1.1 {code} because", f"Content-Length: {len(body)}", f"Content-Type: {kind}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Receiver:
    """Answers each request with the next of its answers, byte strings; with None it never answers."""

    def __init__(self, context=None):
        self.heads, self.bodies, self.connections = [], [], 0
        self.answers = []
        self.pause_s = 0.0  # between the bytes of an answer
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.connections += 1
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError):
            if self._context:
                client = self._context.wrap_socket(client, server_side=True)
                self._open.append(client)
            stream = client.makefile("rb")
            while head := self._head(stream):
                size = int(head.lower().partition(b"content-length: ")[2].split()[0])
                self.heads.append(head.decode())
                self.bodies.append(stream.read(size))
                text = self.answers.pop(0) if self.answers else OK
                if text is None:
                    continue
                for piece in [text] if not self.pause_s else [bytes((byte,)) for byte in text]:
                    client.sendall(piece)
                    time.sleep(self.pause_s)
                if b"Connection: close" in text:
                    client.shutdown(socket.SHUT_RDWR)

    def _head(self, stream):
        """Return the lines of a request up to the empty one; nothing if the other side has closed."""
        lines = []
        while (line := stream.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines)

    def hang_up(self):
        """Close the connections, as a server does that has waited for long."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def close(self):
        self._listening.close()
        self.hang_up()


@pytest.fixture
def receiver():
    with contextlib.closing(Receiver()) as running:
        yield running


@pytest.fixture
def dial():
    """Return a function that makes an HttpPusher for a local port."""
    with contextlib.ExitStack() as stack:

        def make(port, **options):
            options = {"secure": False, "path": "/v1/metrics", "timeout_s": 5.0, **options}
            return stack.enter_context(
                contextlib.closing(HttpPusher(Endpoint(f"localhost:{port}", **options)))
            )

        yield make


def test_a_request_arrives_unchanged(receiver, dial):
    """One POST with the bytes, their type, and the headers that were asked for."""
    body = bytes(range(256)) * 3
    pusher = dial(receiver.port, headers=(("authorization", "Bearer abc"),), path="/api/v1/otlp/v1/metrics")

    assert pusher.push(body) == Delivered()
    assert receiver.bodies == [body]
    line, *headers = receiver.heads[0].splitlines()
    assert line == "POST /api/v1/otlp/v1/metrics HTTP/1.1"
    assert {f"Content-Type: {CONTENT_TYPE}", "authorization: Bearer abc"} <= set(headers)
    assert any(header.startswith("User-Agent: xdp-otel/") for header in headers)


def test_gzip_compresses(receiver, dial):
    assert dial(receiver.port, gzip=True).push(REQUEST) == Delivered()
    assert "Content-Encoding: gzip" in receiver.heads[0]
    assert gzip.decompress(receiver.bodies[0]) == REQUEST


def test_one_connection_serves_all_calls_until_the_other_side_ends_it(receiver, dial):
    """An idle connection that was closed in between costs no failed call."""
    pusher = dial(receiver.port)
    assert [pusher.push(b"") for _ in range(3)] == [Delivered()] * 3
    assert receiver.connections == 1
    receiver.hang_up()
    assert pusher.push(b"") == Delivered()
    receiver.answers = [OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
    assert [pusher.push(b"") for _ in range(2)] == [Delivered()] * 2
    assert receiver.connections == 3


@pytest.mark.parametrize("code", RETRYABLE)
def test_a_retryable_code_is_left_to_the_caller(receiver, dial, code):
    receiver.answers = [answer(code, b"not\nnow", "text/plain")]
    assert dial(receiver.port).push(b"") == Retry(f"HTTP {code}", "not now")
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("code", NOT_RETRYABLE)
def test_any_other_code_is_a_rejection(receiver, dial, code):
    """Redirects too: where they lead to was not asked for, and may be given the headers."""
    status = Status(message="no").SerializeToString()
    receiver.answers = [answer(code, status, CONTENT_TYPE, "Location: http://localhost:1/")]
    outcome = dial(receiver.port).push(b"")
    assert outcome == Rejected(f"HTTP {code}", "no")
    assert outcome.too_large == (code == 413)
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize(
    ("text", "after_s"), [("7", 7.0), ("0", 0.0), ("-5", None), ("soon", None), ("9" * 30, 9_999_999_999.0)]
)
def test_retry_after_sets_the_delay(receiver, dial, text, after_s):
    receiver.answers = [answer(503, b"", "text/plain", f"Retry-After: {text}")]
    assert dial(receiver.port).push(b"") == Retry("HTTP 503", "no reason given", after_s)


def test_retry_after_may_be_a_date(receiver, dial):
    receiver.answers = [answer(429, b"", "text/plain", f"Retry-After: {formatdate(time.time() + 60)}")]
    assert 50 < dial(receiver.port).push(b"").after_s <= 60


def test_partial_success_is_read(receiver, dial):
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = 3
    response.partial_success.error_message = "too old"
    receiver.answers = [answer(200, response.SerializeToString())]
    assert dial(receiver.port).push(REQUEST) == Delivered(3, "too old")


@pytest.mark.parametrize(
    "text",
    [
        answer(200, b"<html>", "text/html"),
        answer(200, b"<html>"),
        answer(200, b"{}", "application/json"),
        answer(200, bytes(100_000)),
        answer(202),
        answer(204).replace(b"Content-Length: 0\r\n", b""),
    ],
)
def test_only_an_otlp_message_acknowledges(receiver, dial, text):
    """A web page with status 200 is no Collector."""
    receiver.answers = [text]
    outcome = dial(receiver.port).push(b"")
    assert isinstance(outcome, Rejected)
    assert outcome.code == f"HTTP {text[9:12].decode()}"


@pytest.mark.parametrize(
    "text", [b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0-x\r\n", OK[:20]]
)
def test_what_is_no_answer_may_be_sent_again(receiver, dial, text):
    receiver.answers = [text + b"Connection: close"] if text != OK[:20] else [text]
    outcome = dial(receiver.port, timeout_s=0.5).push(b"")
    assert isinstance(outcome, Retry)
    assert outcome.message


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_call_ends_at_its_deadline(receiver, dial, pause_s):
    """Without an answer, and with one that comes byte by byte."""
    receiver.answers, receiver.pause_s = [answer(200) if pause_s else None, OK], pause_s
    pusher = dial(receiver.port, timeout_s=0.4)
    before = time.monotonic()
    outcome = pusher.push(b"")
    assert 0.4 <= time.monotonic() - before < 2
    assert (type(outcome), outcome.code) == (Retry, "TIMEOUT")
    receiver.pause_s = 0.0
    assert pusher.push(b"", timeout_s=5) == Delivered()
    assert receiver.connections == 2


def test_a_signal_ends_the_call(receiver, dial):
    """The handler interrupts; the bytes may be sent again, and calls are short from then on."""
    receiver.answers = [None]
    pusher = dial(receiver.port, timeout_s=30.0)
    with interrupting(pusher):
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert pusher.push(b"") == Retry("CANCELLED", "interrupted here")
    assert pusher.push(b"") == Delivered()


# A socket that `socket.create_connection` was about to return is closed by its reference count.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_at_any_moment_leaves_the_pusher_usable(receiver, dial):
    """Before, during and after a call: an answer or a Retry, and the next call works."""
    pusher = dial(receiver.port)
    outcomes = outcomes_at_any_moment(pusher, REQUEST)
    assert set(outcomes) == {Delivered(), Retry("CANCELLED", "interrupted here")}
    assert pusher.push(b"") == Delivered()


def test_nothing_listens(dial):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    outcome = dial(port).push(b"")
    assert (type(outcome), outcome.code) == (Retry, "ECONNREFUSED")
    assert outcome.cause == "connection refused: nothing listens there"


@pytest.mark.parametrize("case", ["right", "another CA", "no certificate of ours"])
def test_tls_and_mtls(dial, authorities, case):
    ours, theirs = authorities
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.server, ours.server_key)
    context.load_verify_locations(ours.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    pair = {"client_certificate": ours.client, "client_key": ours.client_key}
    with contextlib.closing(Receiver(context)) as receiver:
        outcome = dial(
            receiver.port,
            secure=True,
            certificate=theirs.ca if case == "another CA" else ours.ca,
            **({} if case == "no certificate of ours" else pair),
        ).push(REQUEST)
    if case == "right":
        assert outcome == Delivered()
        assert receiver.bodies == [REQUEST]
        return
    assert isinstance(outcome, Retry)
    assert receiver.bodies == []
    if case == "another CA":
        assert outcome.cause == "its certificate is not signed by a CA that we trust"


def test_certificates_replaced_on_disk_are_picked_up(dial, authorities, tmp_path):
    """With the next call; a file that is half written keeps the ones that are loaded."""
    ours, theirs = authorities
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.server, ours.server_key)
    ca = tmp_path / "ca.pem"
    ca.write_text(Path(theirs.ca).read_text())
    with contextlib.closing(Receiver(context)) as receiver:
        pusher = dial(receiver.port, secure=True, certificate=str(ca))
        assert isinstance(pusher.push(b""), Retry)
        ca.write_text(Path(ours.ca).read_text())
        assert pusher.push(b"") == Delivered()
        ca.write_text("-----BEGIN CERT")
        assert pusher.push(b"") == Delivered()


def test_tls_goes_through_a_proxy_by_connect(tmp_path, monkeypatch):
    """The proxy learns host and port, and gets its own password; the Collector gets the token."""
    made = authority(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.issue("server", host="collector.example"))
    with contextlib.closing(Receiver(context)) as receiver, contextlib.closing(Proxy(receiver.port)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
        endpoint = Endpoint(
            "collector.example:4318",
            secure=True,
            path="/v1/metrics",
            certificate=str(made.ca),
            headers=(("authorization", "Bearer hunter2"),),
        )
        with contextlib.closing(HttpPusher(endpoint)) as pusher:
            assert [pusher.push(REQUEST) for _ in range(2)] == [Delivered()] * 2
        assert receiver.bodies == [REQUEST] * 2
        assert "authorization: Bearer hunter2" in receiver.heads[0]
        assert "roxy-" not in receiver.heads[0]
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT collector.example:4318 HTTP/1.")
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in head
    assert b"hunter2" not in head + proxy.received


def test_a_proxy_gets_what_is_not_for_loopback(receiver, monkeypatch):
    """In plaintext it is asked for the whole URL; never with a token, which it could read."""
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{receiver.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    endpoint = Endpoint("collector.example:4318", secure=False, path="/v1/metrics", timeout_s=5.0)
    with contextlib.closing(HttpPusher(endpoint)) as pusher:
        assert pusher.push(REQUEST) == Delivered()
    head = receiver.heads[0]
    assert head.startswith("POST http://collector.example:4318/v1/metrics HTTP/1.1\r\n")
    assert "Host: collector.example:4318" in head
    assert "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in head
