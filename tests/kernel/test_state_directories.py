# SPDX-License-Identifier: Apache-2.0
"""One map, several state directories and endpoints: `xdp-otel run` with real maps, marks and journals."""

import contextlib
import struct
import subprocess
import sys
import urllib.request

import pytest

from demo.bpf_commands import map_update
from demo.ports import Ports
from sidecar.kernel import reported, uapi
from sidecar.kernel import syscall as bpf
from tests.kernel.user_program import COMMAND, ROOT
from tests.waiting import answered, patient
from tests.wire.collector import Collector

PACKETS = "xdp.packets.total"


class Counted:
    """A pinned map like the packet counter's, to which the test adds packets."""

    def __init__(self, fd, pin):
        self.fd, self.pin, self.id, self.packets = fd, pin, bpf.map_info(fd).id, 0

    def count(self, packets):
        self.packets += packets
        map_update(self.fd, bytes(4), struct.pack("=8Q", self.packets, self.packets * 100, *[0] * 6))


@pytest.fixture
def counted(make_map, make_pin, cleanup):
    fd = make_map(uapi.MAP_ARRAY, name="stats_map")
    counted = Counted(fd, make_pin(fd))
    cleanup.callback(reported.forget, counted.id)
    counted.count(100)
    return counted


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


def command(counted, state, *options):
    profile = ("--profile", "packet-counter", "--state-dir", state)
    return [*COMMAND, "run", "--map-path", str(counted.pin), *map(str, (*profile, *options))]


def once(counted, state, collector, *options):
    """Run one cycle against the Collector; return the log."""
    endpoint = f"127.0.0.1:{collector.port}"
    arguments = command(counted, state, "--otel-endpoint", endpoint, "--once", *options)
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stderr


@contextlib.contextmanager
def scraped(counted, state):
    """Run with endpoint `none`; yield a function that returns the packets on the status page."""
    address = f"127.0.0.1:{Ports.free().telemetry}"
    options = ("--otel-endpoint", "none", "--status-address", address, "--interval", "0.2")
    process = subprocess.Popen(command(counted, state, *options), cwd=ROOT, stderr=subprocess.PIPE, text=True)

    def packets():
        with urllib.request.urlopen(f"http://{address}/metrics") as page:
            lines = page.read().decode().splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("xdp_xdp_packets_total")]

    try:
        yield lambda: answered(packets)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=patient(60))
        sys.stderr.write(log)
    assert process.returncode == 0


def marks(counted):
    return [path.name for path in reported.PIN_ROOT.glob(f"reported-{counted.id}-*")]


def test_with_endpoint_none_the_totals_are_shown(counted, collector, tmp_path, capfd):
    """Also those that another state directory has sent: nothing is sent, so nothing can be counted twice."""
    once(counted, tmp_path / "first", collector)
    counted.count(7)
    with scraped(counted, tmp_path / "second") as packets:
        assert packets() == [107]

    assert collector.total(PACKETS) == 100
    assert "WARNING" not in capfd.readouterr().err


@pytest.mark.parametrize("options", [(), ("--base-point",)], ids=["delta", "base point"])
def test_what_was_scraped_is_still_to_be_sent(counted, collector, tmp_path, options):
    """A map that was only scraped is not marked, and its counts are sent once there is a Collector."""
    with scraped(counted, tmp_path / "state") as packets:
        assert packets() == [100]
    assert marks(counted) == []
    counted.count(5)

    assert "reported before" not in once(counted, tmp_path / "state", collector, *options)
    assert collector.total(PACKETS) == 105


def test_scraping_between_two_runs_takes_nothing_from_the_collector(counted, collector, tmp_path):
    """In the same state directory: each has its own journal."""
    once(counted, tmp_path / "state", collector)
    counted.count(20)
    with scraped(counted, tmp_path / "state") as packets:
        assert packets() == [120]
    counted.count(3)
    once(counted, tmp_path / "state", collector)
    with scraped(counted, tmp_path / "state") as packets:
        assert packets() == [123]

    assert collector.total(PACKETS) == 123


def test_the_state_directory_that_has_reported_the_map_is_named(counted, collector, tmp_path):
    """A lost journal, another state directory and another name of the same map are told apart."""
    first, second = tmp_path / "first", tmp_path / "second"
    once(counted, first, collector)
    counted.count(7)
    of_second = once(counted, second, collector)
    (first / "journal").unlink()
    of_first = once(counted, first, collector)

    before = f"WARNING pin:{counted.pin}: map id {counted.id} was reported before"
    assert f"{before}, from state directory {first}: " in of_second
    assert f"{before}, but the journal is lost: " in of_first
    assert collector.total(PACKETS) == 100


def test_a_mark_of_an_older_version_has_no_state_directory(counted, collector, tmp_path):
    """Both possibilities are named, and the counts are as safe as before."""
    once(counted, tmp_path / "first", collector)
    for path in reported.PIN_ROOT.glob(f"reported-{counted.id}-by-*"):
        path.unlink()
    counted.count(7)
    log = once(counted, tmp_path / "second", collector)

    assert (
        f"map id {counted.id} was reported before, by a journal that is not in this state directory "
        "(lost, or in another one): "
    ) in log
    assert collector.total(PACKETS) == 100


def test_one_map_under_another_name(counted, collector, tmp_path):
    """The journal is there, and knows the map as another source."""
    once(counted, tmp_path / "state", collector)
    counted.count(7)
    arguments = command(
        counted, tmp_path / "state", "--otel-endpoint", f"127.0.0.1:{collector.port}", "--once"
    )
    arguments[arguments.index("--map-path") : arguments.index("--map-path") + 2] = [
        "--map-id",
        str(counted.id),
    ]
    log = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stderr

    assert f"id:{counted.id}: map id {counted.id} was reported before, as pin:{counted.pin}: " in log
    assert collector.total(PACKETS) == 100


def test_the_marks_go_with_the_map(counted, collector, tmp_path):
    """Those of state directories too."""
    once(counted, tmp_path / "first", collector)
    once(counted, tmp_path / "second", collector)
    assert len(marks(counted)) == 3
    reported.forget(counted.id)

    assert marks(counted) == []
