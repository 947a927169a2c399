# SPDX-License-Identifier: Apache-2.0
"""The sidecar as a process, on another program's map, with and without a Collector."""

import os
import re
import signal
import struct
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import stack
from demo.bpf_commands import map_create, map_update, prog_test_run
from demo.ports import Ports
from demo.prometheus import fetch
from sidecar.kernel import libbpf, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.cpus import possible_cpus
from tests.waiting import matching


@pytest.fixture
def pin():
    """A pinned PERCPU_ARRAY with different counts on each CPU; `TRUTH` is their sum."""
    fd = map_create(uapi.MAP_PERCPU_ARRAY, key_size=4, value_size=64, max_entries=1, name="stats_map")
    path = Path("/sys/fs/bpf") / f"test-{uuid.uuid4().hex[:12]}"
    stack.mount_bpffs()
    bpf.obj_pin(fd, str(path))
    slots = ([2**53 + 1 + 7 * cpu] + [3 + cpu] * 7 for cpu in range(len(possible_cpus())))
    map_update(fd, bytes(4), b"".join(struct.pack("=8Q", *slot) for slot in slots))
    os.close(fd)
    yield path
    path.unlink()


TRUTH = sum(2**53 + 1 + 7 * cpu for cpu in range(len(possible_cpus())))


@contextmanager
def running(pin, directory, *options):
    """Run the sidecar on the map; after SIGTERM it must exit with 0 within 5 s."""
    command = [stack.SIDECAR, "--map-path", pin, "--state-dir", directory / "state", "--interval", "0.2"]
    log = directory / "sidecar.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *options], stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(5)
    assert code == 0, log.read_text()


def scrape(port, wanted):
    """Return the page once it matches *wanted*, or the last one once time is up."""
    url = f"http://127.0.0.1:{port}/metrics"
    return matching(lambda: fetch(url), lambda page: re.search(wanted, page, re.MULTILINE))


def test_counts_can_be_scraped_without_a_collector(pin, tmp_path):
    """Without an endpoint, the status page has the counts, exact above 2^53, without a warning."""
    port = Ports.free().telemetry
    options = ("--profile", "packet-counter", "--otel-endpoint", "none")
    with running(pin, tmp_path, *options, "--status-address", f"127.0.0.1:{port}"):
        # Ready after the first cycle.
        body = scrape(port, rf"(?s)^xdp_xdp_otel_ready 1$.*^xdp_xdp_packets_total {TRUTH}$")

    assert f"xdp_xdp_packets_total {TRUTH}\n" in body
    assert "xdp_xdp_otel_ready 1\n" in body
    assert "WARNING" not in (tmp_path / "sidecar.log").read_text()


def test_self_metrics_are_exported_on_request(pin, tmp_path):
    """They reach the Collector with the counts, under the names of the status page."""
    ports = Ports.free()
    options = ("--self-metrics", "--otel-endpoint", f"127.0.0.1:{ports.otlp}")
    with stack.collector(tmp_path, ports), running(pin, tmp_path, *options):
        body = scrape(ports.metrics, r'^xdp_xdp_otel_batches\{.*outcome="delivered"\} [1-9]')

    assert re.search(r'^xdp_xdp_otel_batches\{.*outcome="delivered"\} [1-9]', body, re.MULTILINE)
    assert re.search(r'^xdp_xdp_otel_read_errors\{.*kind="rights"\} 0$', body, re.MULTILINE)
    assert "# TYPE xdp_xdp_otel_batches counter" in body


def test_the_runs_of_a_program_are_exported_on_request(tmp_path):
    """With --program-stats alone: exactly the runs since the start, and none of the sidecar's own metrics."""
    ports = Ports.free()
    options = ("--program-stats", "--otel-endpoint", f"127.0.0.1:{ports.otlp}", "--base-point")
    stack.mount_bpffs()
    path = Path("/sys/fs/bpf") / f"test-{uuid.uuid4().hex[:12]}"
    with libbpf.load_packet_counter() as program, stack.collector(tmp_path, ports):
        bpf.obj_pin(program.map_fd, str(path))
        try:
            with running(path, tmp_path, *options):
                scrape(ports.metrics, r"^xdp_xdp_program_runs\{.*\} 0$")
                prog_test_run(program.prog_fd, bytes(64), repeat=4321)
                body = scrape(ports.metrics, r"^xdp_xdp_program_runs\{.*\} 4321$")
        finally:
            path.unlink()

    assert re.search(r'^xdp_xdp_program_runs\{.*xdp_program_name="xdp_count_.*\} 4321$', body, re.MULTILINE)
    assert re.search(r"^xdp_xdp_program_run_time\{.*\} [1-9]", body, re.MULTILINE)
    assert "_otel_" not in body
