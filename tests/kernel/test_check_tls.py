# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel check` against a real TLS server: which side's certificate is refused, and why."""

import os
import subprocess
import sys
from concurrent import futures
from types import SimpleNamespace

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as services

from sidecar.kernel import uapi
from tests import certificates
from tests.kernel.user_program import ROOT


class Accepting(services.MetricsServiceServicer):
    def Export(self, request, context):  # noqa: N802  # the generated name
        return messages.ExportMetricsServiceResponse()


@pytest.fixture
def pki(tmp_path):
    """Two authorities, with a certificate for a server and one for a client of each."""
    found = SimpleNamespace()
    for name in ("ours", "theirs"):
        authority = certificates.authority(tmp_path, name)
        pairs = {
            "server": authority.issue("server"),
            "elsewhere": authority.issue("elsewhere", host="other.example"),
            "client": authority.issue("client"),
        }
        setattr(found, name, SimpleNamespace(ca=authority.ca, **pairs))
    return found


@pytest.fixture
def serve(cleanup):
    """Start a server with a certificate, which requires one of the client's if it is given their CA."""

    def start(pair, client_ca=None):
        server = grpc.server(futures.ThreadPoolExecutor(2))
        services.add_MetricsServiceServicer_to_server(Accepting(), server)
        credentials = grpc.ssl_server_credentials(
            [(pair[1].read_bytes(), pair[0].read_bytes())],
            root_certificates=client_ca.read_bytes() if client_ca else None,
            require_client_auth=client_ca is not None,
        )
        port = server.add_secure_port("localhost:0", credentials)
        server.start()
        cleanup.callback(lambda: server.stop(None).wait())
        return port

    return start


@pytest.fixture
def check(make_map, make_pin, tmp_path):
    """Check a map with an endpoint; return the exit code, the lines on the Collector, and the log's line."""
    pin = make_pin(make_map(uapi.MAP_PERCPU_ARRAY))

    def run(endpoint, ca=None, pair=None):
        flags = [
            "--map-path",
            pin,
            "--profile",
            "packet-counter",
            "--state-dir",
            tmp_path / "state",
            "--otel-endpoint",
            endpoint,
        ]
        flags += ["--otel-certificate", ca] if ca else []
        flags += ["--otel-client-certificate", pair[0], "--otel-client-key", pair[1]] if pair else []
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "check", *map(str, flags)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if " Collector " in line]
        return (
            done.returncode,
            [line.replace(f"Collector {endpoint[8:]} (TLS): ", "") for line in lines],
            done.stderr,
        )

    return run


def test_both_certificates_are_accepted(pki, serve, check):
    """A line for the server's, one for ours, one for the request."""
    port = serve(pki.ours.server, pki.ours.ca)

    assert check(f"https://localhost:{port}", pki.ours.ca, pki.ours.client) == (
        0,
        [
            f"ok      its certificate is verified by {pki.ours.ca}",
            f"ok      our certificate {pki.ours.client[0]} is accepted",
            "ok      accepts requests",
        ],
        "",
    )


@pytest.mark.parametrize("case", ["another CA", "another name", "built-in roots"])
def test_a_certificate_of_the_server_that_is_not_verified_is_named(pki, serve, check, case):
    """With the reason, and what to set."""
    port = serve(pki.ours.elsewhere if case == "another name" else pki.ours.server)
    ca = {"another CA": pki.theirs.ca, "another name": pki.ours.ca, "built-in roots": None}[case]
    code, lines, said = check(f"https://localhost:{port}", ca)

    reason = "Hostname mismatch" if case == "another name" else "unable to get local issuer certificate"
    assert (code, len(lines)) == (7, 1)
    assert lines[0].startswith(f"failed  its certificate is not verified: {reason}")
    assert f"name its CA in OTEL_EXPORTER_OTLP_CERTIFICATE (now: {ca or 'the built-in roots'})" in said


@pytest.mark.parametrize("case", ["none", "another CA"])
def test_a_certificate_of_ours_that_is_refused_is_named(pki, serve, check, case):
    """In TLS 1.3 the handshake has succeeded by then, on our side: the server's certificate is verified."""
    port = serve(pki.ours.server, pki.ours.ca)
    pair = pki.theirs.client if case == "another CA" else None
    code, lines, said = check(f"https://localhost:{port}", pki.ours.ca, pair)

    assert code == 7
    assert lines[0] == f"ok      its certificate is verified by {pki.ours.ca}"
    if pair:
        assert lines[1].startswith(f"failed  it refuses our certificate {pair[0]}: ")
        assert said.endswith("have it signed by a CA that the Collector trusts (its client_ca_file)\n")
    else:
        assert lines[1].startswith("failed  it may require a certificate of ours: ")
        assert said.endswith("set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY\n")
