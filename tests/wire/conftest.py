# SPDX-License-Identifier: Apache-2.0
"""A Collector, a tap in front of it, certificates, and a process that exports to it."""

import contextlib
import os
import subprocess
from dataclasses import dataclass

import pytest

from sidecar.kernel import reported
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp_push import Pusher
from tests.wire.collector import Collector
from tests.wire.tap import Tap
from tests.wire.world import World


@pytest.fixture(autouse=True)
def _no_otel_variables(monkeypatch):
    """Remove the caller's OTEL_ variables from the environment."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def bpffs(tmp_path, monkeypatch):
    """A directory in place of bpffs, which needs root."""
    monkeypatch.setattr(reported, "PIN_ROOT", tmp_path / "bpffs")
    return tmp_path / "bpffs"


@pytest.fixture(scope="session")
def new_collector():
    """The Collector class; `with` starts an instance."""
    return Collector


@pytest.fixture
def collector():
    """A running Collector."""
    with Collector() as running:
        yield running


@pytest.fixture
def world(collector, state_dir):
    """A running process that exports to the Collector."""
    with World(collector, state_dir) as running:
        yield running


@pytest.fixture
def tap(collector):
    """A tap in front of the Collector."""
    with contextlib.closing(Tap(collector.port)) as running:
        yield running


@pytest.fixture
def dial():
    """Return a function that makes a Pusher for a local port; each is closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(port, *, secure=False, **options):
            pusher = Pusher(Endpoint(f"localhost:{port}", secure, **options))
            stack.callback(pusher.close)
            return pusher

        yield make


@dataclass(frozen=True)
class Authority:
    """PEM files of a certificate authority, with a server certificate and a client certificate."""

    ca: str
    server_key: str
    server: str
    client_key: str
    client: str


@pytest.fixture(scope="session")
def authorities(tmp_path_factory):
    """Two unrelated authorities."""
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
