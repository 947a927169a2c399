# SPDX-License-Identifier: Apache-2.0
import contextlib
import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from demo.ports import Ports
from demo.processes import ROOT
from sidecar.errors import ConfigError
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.outcome import Delivered, Rejected, Retry
from sidecar.otlp_push import Pusher
from tests.wire.alarms import outcomes_at_any_moment

# OTLP specification, "Failures": may be sent again, and may not; RESOURCE_EXHAUSTED is either, by RetryInfo.
RETRYABLE = {
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.ABORTED,
    StatusCode.OUT_OF_RANGE,
    StatusCode.UNAVAILABLE,
    StatusCode.DATA_LOSS,
}
NOT_RETRYABLE = {
    StatusCode.UNKNOWN,
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.ALREADY_EXISTS,
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.UNIMPLEMENTED,
    StatusCode.INTERNAL,
}

# A request with one empty resource; it may be repeated.
REQUEST = b"\n\x00"
LARGER = REQUEST * 50


def details(*messages):
    """The trailer that carries messages beside a status."""
    status = Status(code=8)
    for message in messages:
        packed = Any()
        packed.Pack(message)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def retry_after(seconds, nanos=0):
    info = RetryInfo()
    info.retry_delay.seconds = seconds
    info.retry_delay.nanos = nanos
    return info


def until(condition):
    """Wait until the condition holds, which takes a moment."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_request_arrives_unchanged(collector, dial):
    """The bytes are neither parsed nor altered on the way."""
    body = bytes(range(256)) * 3
    collector.will(counts=False)

    assert dial(collector.port).push(body) == Delivered()
    assert collector.bodies == [body]


def test_the_user_agent_names_the_sidecar(collector, dial):
    """The Collector's log shows who sends."""
    dial(collector.port).push(b"")

    assert collector.calls[0].metadata["user-agent"].startswith("xdp-otel/")


def test_the_table_of_codes_is_complete():
    """Every gRPC code is in one of the specification's columns."""
    assert {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED} | RETRYABLE | NOT_RETRYABLE == set(StatusCode)


@pytest.mark.parametrize("code", sorted(RETRYABLE, key=lambda code: code.name))
def test_a_retryable_code_is_left_to_the_caller(collector, dial, code):
    """The request is sent once; the caller gets code and message. gRPC does not retry by itself."""
    collector.will(code, "not\nnow")

    assert dial(collector.port).push(b"") == Retry(code.name, "not now")
    assert len(collector.calls) == 1


@pytest.mark.parametrize("code", sorted(NOT_RETRYABLE, key=lambda code: code.name))
def test_any_other_code_is_a_rejection(collector, dial, code):
    """The specification forbids a retry; no code says whether the request was counted."""
    collector.will(code, "no")

    assert dial(collector.port).push(b"") == Rejected(code.name, "no")


def test_resource_exhausted_without_retry_info_is_a_rejection(collector, dial):
    """The request is too large, and would be the next time."""
    collector.will(StatusCode.RESOURCE_EXHAUSTED, "too big")
    collector.will(StatusCode.RESOURCE_EXHAUSTED, "too big", trailers=details(ErrorInfo(reason="SIZE")))
    pusher = dial(collector.port)

    for _ in range(2):
        outcome = pusher.push(b"")
        assert outcome == Rejected("RESOURCE_EXHAUSTED", "too big")
        assert outcome.too_large


@pytest.mark.parametrize(
    ("trailers", "after_s"),
    [
        (details(retry_after(7)), 7.0),
        (details(retry_after(0, 250_000_000)), 0.25),
        (details(ErrorInfo(reason="BUSY"), retry_after(2, 500_000_000)), 2.5),
        (details(retry_after(0)), 0.0),
        (details(retry_after(-5)), 0.0),
    ],
)
@pytest.mark.parametrize("code", [StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE])
def test_retry_info_sets_the_delay(collector, dial, code, trailers, after_s):
    """In `grpc-status-details-bin`; it also makes RESOURCE_EXHAUSTED retryable."""
    collector.will(code, "busy", trailers=trailers)

    assert dial(collector.port).push(b"") == Retry(code.name, "busy", after_s)


@pytest.mark.parametrize("code", [StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE])
def test_malformed_details_are_ignored(collector, dial, code):
    """A proxy may garble them."""
    collector.will(code, trailers=(("grpc-status-details-bin", b"\xff\xff\xff"),))
    outcome = dial(collector.port).push(b"")

    assert outcome.code == code.name
    assert isinstance(outcome, Retry) == (code is StatusCode.UNAVAILABLE)
    assert getattr(outcome, "after_s", None) is None


def test_partial_success_is_read(collector, dial):
    """The points that the Collector refused, or its warning, come with the acknowledgement."""
    for rejected, text in ((3, "too old"), (0, "deprecated")):
        response = ExportMetricsServiceResponse()
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = text
        collector.will(body=response.SerializeToString())
    pusher = dial(collector.port)

    assert pusher.push(LARGER) == Delivered(3, "too old")
    assert pusher.push(LARGER) == Delivered(0, "deprecated")


@pytest.mark.parametrize(("claimed", "taken"), [(-5, 0), (-(2**63), 0), (2**62, 5)])
def test_the_number_of_rejected_points_is_bounded(collector, dial, claimed, taken):
    """By what was sent, and by 0: an impossible number is not counted."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = claimed
    collector.will(body=response.SerializeToString())

    assert dial(collector.port).push(LARGER) == Delivered(taken)


def test_a_malformed_response_is_no_acknowledgement(collector, dial):
    """Status OK with an invalid message: the request may not have been read."""
    collector.will(body=b"<html>")

    assert dial(collector.port).push(b"") == Rejected("INTERNAL", "the response is OK but cannot be decoded")


def test_a_server_without_the_service_is_a_rejection(dial):
    """A gRPC server for something else."""
    with contextlib.closing(_Stoppable()) as other:
        outcome = dial(other.port).push(b"")

    assert (type(outcome), outcome.code) == (Rejected, "UNIMPLEMENTED")


class _Stoppable:
    """A gRPC server without any service."""

    def __init__(self):
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        self._server = grpc.server(ThreadPoolExecutor(1))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self):
        self._server.stop(None).wait()


def test_a_web_server_is_no_collector(dial):
    """Port 4318 for 4317, say: an outcome with a message, no exception."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            outcome = dial(server.server_port).push(b"", timeout_s=2)
        finally:
            server.shutdown()
            thread.join()

    assert isinstance(outcome, Retry)
    assert outcome.message


def test_a_collector_that_does_not_respond_costs_one_deadline(collector, dial):
    """The call ends at the endpoint's deadline, and the bytes may be sent again."""
    collector.will(hangs=True)
    pusher = dial(collector.port, timeout_s=0.2)
    before = time.monotonic()
    outcome = pusher.push(b"")

    assert (type(outcome), outcome.code) == (Retry, "DEADLINE_EXCEEDED")
    assert 0.2 <= time.monotonic() - before < 2


def test_after_a_deadline_another_connection_is_used(collector, dial):
    """A connection that may be dead is not used again."""
    pusher = dial(collector.port, timeout_s=0.2)
    for _ in range(5):
        collector.will()
        collector.will(hangs=True)
        while isinstance(pusher.push(b""), Delivered):
            pass
    peers = [call.peer for call in collector.calls]

    assert [here == there for here, there in zip(peers[:-1:2], peers[1::2], strict=True)] == [True] * 5
    assert len(set(peers)) == 5


def test_a_connection_that_was_cut_silently_is_abandoned(collector, tap, dial):
    """A dead link swallows one call, not all that follow until TCP gives up."""
    pusher = dial(tap.port, timeout_s=0.5)
    first = pusher.push(b"")
    tap.swallow()
    second = pusher.push(b"")
    third = pusher.push(b"", timeout_s=5)

    assert (first, second.code, third) == (Delivered(), "DEADLINE_EXCEEDED", Delivered())


def test_a_connection_that_breaks_during_a_call_is_a_retry(collector, tap, dial):
    """The response is lost."""
    collector.will(hangs=True, counts=True)
    pusher = dial(tap.port)
    threading.Thread(target=lambda: (until(lambda: collector.calls), tap.cut())).start()
    outcome = pusher.push(b"")

    assert (type(outcome), outcome.code) == (Retry, "UNAVAILABLE")


def test_the_callers_timeout_can_only_shorten_the_endpoints(collector, dial):
    """The last call before exit is short."""
    for endpoint_s, call_s in ((10, 0.1), (0.1, 10)):
        collector.will(hangs=True)
        before = time.monotonic()
        outcome = dial(collector.port, timeout_s=endpoint_s).push(b"", timeout_s=call_s)

        assert outcome.code == "DEADLINE_EXCEEDED"
        assert time.monotonic() - before < 2


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_collector_that_starts_later_is_found(new_collector, dial):
    """No listener: Retry, at once. Once it listens: Delivered."""
    late = new_collector()
    late.port = free_port()
    pusher = dial(late.port)
    before = time.monotonic()
    outcome = pusher.push(REQUEST, timeout_s=3)

    assert (type(outcome), outcome.code) == (Retry, "UNAVAILABLE")
    assert "refused" in outcome.message
    assert time.monotonic() - before < 2
    with late:
        until(lambda: pusher.push(REQUEST) == Delivered())
        assert late.bodies == [REQUEST]


def test_a_collector_that_restarts_is_found_again(new_collector, dial):
    """The channel outlives the server: every call has an outcome, and soon an acknowledgement."""
    restarting = new_collector()
    with restarting:
        pusher = dial(restarting.port)
        assert pusher.push(REQUEST) == Delivered()
    assert isinstance(pusher.push(REQUEST * 2, timeout_s=3), Retry)
    with restarting:
        until(lambda: pusher.push(REQUEST * 2) == Delivered())

    assert restarting.bodies == [REQUEST, REQUEST * 2]


def test_headers_arrive(collector, dial):
    """Every header of the endpoint is in the metadata of each call."""
    pusher = dial(collector.port, headers=(("authorization", "Bearer abc="), ("x-tenant", "a b")))
    for _ in range(2):
        pusher.push(b"")

    for call in collector.calls:
        assert (call.metadata["authorization"], call.metadata["x-tenant"]) == ("Bearer abc=", "a b")


@pytest.mark.parametrize(("gzip", "small"), [(True, True), (False, False)])
def test_compression_is_used_if_configured(collector, tap, dial, gzip, small):
    """With gzip the wire carries less than the request, and the Collector receives the same."""
    body = bytes(100_000)
    collector.will(counts=False)
    pusher = dial(tap.port, gzip=gzip)

    assert pusher.push(body) == Delivered()
    assert collector.bodies == [body]
    assert (tap.sent_bytes < len(body) / 10) == small


@pytest.fixture
def secure(new_collector, authorities):
    """Start a Collector that speaks TLS; with *mutual* it requires client certificates."""
    ours = authorities[0]
    with contextlib.ExitStack() as stack:

        def start(*, mutual=False):
            pair = (Path(ours.server_key).read_bytes(), Path(ours.server).read_bytes())
            roots = Path(ours.ca).read_bytes() if mutual else None
            server = new_collector()
            server.start(grpc.ssl_server_credentials([pair], roots, require_client_auth=mutual))
            stack.callback(server.stop)
            return server

        yield start


def test_tls_with_a_private_authority(secure, dial, authorities):
    """The file of trusted roots is used."""
    server = secure()

    assert dial(server.port, secure=True, certificate=authorities[0].ca).push(b"") == Delivered()


def test_tls_with_a_client_certificate(secure, dial, authorities):
    """The client presents its certificate to a server that requires one."""
    server, ours = secure(mutual=True), authorities[0]
    pusher = dial(
        server.port,
        secure=True,
        certificate=ours.ca,
        client_key=ours.client_key,
        client_certificate=ours.client,
    )

    assert pusher.push(b"") == Delivered()


def test_an_untrusted_server_receives_nothing(secure, dial, authorities):
    """The wrong authority, or the built-in ones: Retry, and the message names the certificate."""
    server = secure()

    for certificate in (authorities[1].ca, None):
        outcome = dial(server.port, secure=True, certificate=certificate).push(b"", timeout_s=3)

        assert isinstance(outcome, Retry)
        assert "CERTIFICATE_VERIFY_FAILED" in outcome.message
        assert server.calls == []


def test_an_untrusted_client_is_a_retry(secure, dial, authorities):
    """Without a certificate, or with one of another authority; no endless wait."""
    server, (ours, theirs) = secure(mutual=True), authorities
    strangers = (
        {},
        {"client_key": theirs.client_key, "client_certificate": theirs.client},
    )

    for stranger in strangers:
        outcome = dial(server.port, secure=True, certificate=ours.ca, **stranger).push(b"", timeout_s=3)

        assert isinstance(outcome, Retry)
        assert outcome.code == "UNAVAILABLE"
        assert server.calls == []


def test_plaintext_to_a_tls_port_and_tls_to_a_plaintext_port_are_explained(
    secure, collector, dial, authorities
):
    """Nothing is counted, and the outcome names the scheme to try."""
    for pusher, remedy in (
        (dial(secure().port), "the endpoint may want https://"),
        (dial(secure(mutual=True).port), "the endpoint may want https://"),
        (dial(collector.port, secure=True, certificate=authorities[0].ca), "use http://"),
    ):
        outcome = pusher.push(b"", timeout_s=2)

        assert isinstance(outcome, Retry)
        assert outcome.remedy.startswith(remedy), outcome


@pytest.fixture
def silent():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_that_does_not_answer_a_name_without_address_and_a_closed_port_are_explained(dial, silent):
    """By the real gRPC, whose words they are found by."""
    closed = Ports.free().otlp

    assert dial(closed).push(b"", timeout_s=2).cause == "connection refused: nothing listens there"
    assert dial(silent).push(b"", timeout_s=2).cause == "it accepts connections but does not answer"
    assert dial(silent, secure=True).push(b"", timeout_s=2).cause in (
        "the TLS handshake was not answered",
        "the connection timed out",
    )
    with contextlib.closing(Pusher(Endpoint("no-such-host.invalid:4317", secure=False))) as pusher:
        assert pusher.push(b"", timeout_s=5).cause in (
            "unknown host name",
            "the host name has no address",
            "the host name cannot be resolved",  # a machine without DNS
        )


ALL_FAILURES = """
import sys
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp_push import Pusher
from tests.wire.alarms import outcomes_at_any_moment

tls, plain, closed = sys.argv[1:]
for port, secure in ((tls, False), (tls, True), (plain, True), (closed, False), (closed, True)):
    pusher = Pusher(Endpoint(f"localhost:{port}", secure))
    for _ in range(3):
        print(pusher.push(b"", timeout_s=1).code)
    pusher.close()
"""


@pytest.mark.parametrize("verbosity", [None, "DEBUG"])
def test_grpc_writes_nothing_to_standard_error(secure, collector, verbosity):
    """Whatever fails, unless the user's own environment says otherwise."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    if verbosity:
        environ |= {"GRPC_VERBOSITY": verbosity}
    ports = [secure().port, collector.port, Ports.free().otlp]
    done = subprocess.run(
        [sys.executable, "-c", ALL_FAILURES, *map(str, ports)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["UNAVAILABLE"] * 15
    assert bool(done.stderr) == bool(verbosity), done.stderr


@pytest.mark.parametrize("name", ["certificate", "client_key", "client_certificate"])
def test_a_file_that_cannot_be_read_is_refused_at_once(tmp_path, name, authorities):
    """No silent fallback to other roots: the message names the file and the variable."""
    ours = authorities[0]
    files = {"certificate": ours.ca, "client_key": ours.client_key, "client_certificate": ours.client}
    for path, why in ((tmp_path / "absent.pem", "ENOENT"), (tmp_path, "EISDIR")):
        with pytest.raises(
            ConfigError, match=rf"^cannot read {path}: {why} .*: .*OTEL_EXPORTER_OTLP_{name.upper()}$"
        ):
            Pusher(Endpoint("localhost:1", secure=True, **{**files, name: str(path)}))


def test_roots_replaced_on_disk_are_used(secure, dial, authorities, tmp_path):
    """A new authority takes effect at the next call; an incomplete file changes nothing."""
    server, (ours, theirs) = secure(), authorities
    roots = tmp_path / "roots.pem"
    shutil.copy(theirs.ca, roots)
    pusher = dial(server.port, secure=True, certificate=str(roots))
    assert isinstance(pusher.push(b"", timeout_s=3), Retry)

    shutil.copy(ours.ca, tmp_path / "new.pem")
    (tmp_path / "new.pem").replace(roots)
    assert pusher.push(b"", timeout_s=3) == Delivered()

    roots.write_text("half a fi")
    assert pusher.push(b"", timeout_s=3) == Delivered()
    roots.unlink()
    assert pusher.push(b"", timeout_s=3) == Delivered()


def test_a_client_certificate_replaced_on_disk_is_used(secure, dial, authorities, tmp_path):
    """Short-lived certificates need no restart."""
    server, (ours, theirs) = secure(mutual=True), authorities
    files = {"client_key": tmp_path / "key.pem", "client_certificate": tmp_path / "client.pem"}
    for authority, expected in ((theirs, Retry), (ours, Delivered)):
        shutil.copy(authority.client_key, files["client_key"])
        shutil.copy(authority.client, files["client_certificate"])
        if authority is theirs:
            names = {name: str(path) for name, path in files.items()}
            pusher = dial(server.port, secure=True, certificate=ours.ca, **names)

        assert isinstance(pusher.push(b"", timeout_s=3), expected)


@pytest.mark.parametrize(
    ("name", "make", "cause"),
    [
        ("certificate", lambda ours, _: Path(ours.client_key).read_text(), "it has no certificate"),
        (
            "certificate",
            lambda ours, _: Path(ours.ca).read_text()[:300] + "\n-----END CERTIFICATE-----\n",
            "it has no certificate, or a damaged one (",
        ),
        (
            "client_certificate",
            lambda ours, _: Path(ours.client).read_text().replace("A", "?"),
            "it has no certificate, or a damaged one (",
        ),
        (
            "client_key",
            lambda _, theirs: Path(theirs.client_key).read_text(),
            "it is not the key of the client's certificate",
        ),
        ("client_key", lambda ours, _: Path(ours.client).read_text(), "it has no key, or a damaged one ("),
        (
            "client_key",
            lambda ours, _: (
                subprocess.run(
                    ["openssl", "pkcs8", "-topk8", "-in", ours.client_key, "-passout", "pass:hunter2"],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            ),
            "the key is encrypted",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused_at_once(tmp_path, authorities, name, make, cause):
    """At the start, not by each handshake; and nothing prompts for a password."""
    ours = authorities[0]
    path = tmp_path / "misfit.pem"
    path.write_text(make(*authorities))
    files = {"certificate": ours.ca, "client_key": ours.client_key, "client_certificate": ours.client}
    with pytest.raises(ConfigError) as caught:
        Pusher(Endpoint("localhost:1", secure=True, **{**files, name: str(path)}))

    assert str(caught.value).startswith(f"cannot use {path}: {cause}")
    assert str(caught.value).endswith(f"OTEL_EXPORTER_OTLP_{name.upper()}")


def test_a_certificate_without_its_key_changes_nothing(secure, dial, authorities, tmp_path):
    """A pair is replaced one file at a time; in between the old pair is used."""
    server, (ours, theirs) = secure(mutual=True), authorities
    key, client = tmp_path / "key.pem", tmp_path / "client.pem"
    shutil.copy(ours.client_key, key)
    shutil.copy(ours.client, client)
    pusher = dial(
        server.port, secure=True, certificate=ours.ca, client_key=str(key), client_certificate=str(client)
    )
    shutil.copy(theirs.client_key, key)

    assert pusher.push(b"", timeout_s=3) == Delivered()


@pytest.mark.parametrize("content", ["", "not in the form of PEM\n"])
@pytest.mark.parametrize("name", ["certificate", "client_key", "client_certificate"])
def test_a_file_that_is_not_pem_is_refused_at_once(tmp_path, name, content, authorities):
    """Otherwise every call would fail, or gRPC would end the process: hence the subprocess."""
    ours = authorities[0]
    files = {"certificate": ours.ca, "client_key": ours.client_key, "client_certificate": ours.client}
    path = tmp_path / "not.pem"
    path.write_text(content)
    endpoint = Endpoint("localhost:1", secure=True, **{**files, name: str(path)})
    program = f"from sidecar.otlp_push import *; Pusher({endpoint!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr
    assert re.search(
        rf"ConfigError: cannot read {path}: .*: .*OTEL_EXPORTER_OTLP_{name.upper()}\n$", done.stderr
    )


def test_interrupt_ends_a_hanging_call_at_once(collector, dial):
    """From a signal handler; the outcome is Retry, and the pusher still works."""
    collector.will(hangs=True)
    pusher = dial(collector.port, timeout_s=30)
    former = signal.signal(signal.SIGUSR1, lambda *_: pusher.interrupt())
    try:
        killer = threading.Thread(
            target=lambda: (until(lambda: collector.calls), os.kill(os.getpid(), signal.SIGUSR1))
        )
        before = time.monotonic()
        killer.start()
        outcome = pusher.push(b"")
        killer.join()
    finally:
        signal.signal(signal.SIGUSR1, former)

    assert (type(outcome), outcome.code) == (Retry, "CANCELLED")
    assert time.monotonic() - before < 2
    assert pusher.push(b"") == Delivered()


def test_interrupt_ends_a_call_that_is_just_starting(collector, dial, monkeypatch):
    """The signal may arrive before anything has been sent."""
    pusher = dial(collector.port)
    export = pusher._export

    def interrupt_and_begin(*arguments, **options):
        pusher.interrupt()
        return export(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pusher, "_export", interrupt_and_begin)
        outcome = pusher.push(b"")

    assert (type(outcome), outcome.code) == (Retry, "CANCELLED")
    assert collector.calls == []
    assert pusher.push(b"") == Delivered()


def test_interrupt_at_any_moment_leaves_the_pusher_usable(collector, dial):
    """Before, during and after a call: a response or a Retry, and the next call works."""
    pusher = dial(collector.port)
    outcomes = outcomes_at_any_moment(pusher, b"")

    assert set(outcomes) == {Delivered(), Retry("CANCELLED", "interrupted here")}
    assert pusher.push(b"") == Delivered()


def test_interrupt_without_a_call_costs_one_call_at_most(collector, dial):
    """A signal between two calls may end the next one; the one after is sent."""
    pusher = dial(collector.port)
    pusher.interrupt()

    assert isinstance(pusher.push(b""), Delivered | Retry)
    assert pusher.push(b"") == Delivered()
