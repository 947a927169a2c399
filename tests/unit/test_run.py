# SPDX-License-Identifier: Apache-2.0
import logging
import os
import subprocess
import sys

import pytest

from sidecar import run
from sidecar.commands import registry
from sidecar.config import config_from
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.kernel import limits

PROGRAM = """
import signal, time
from types import SimpleNamespace
from sidecar import otlp_push, run
from sidecar.observe.service_manager import ServiceManager

clock = run._Clock()
run._stop_on_signal(clock, SimpleNamespace(interrupt=lambda: None), ServiceManager({}))
assert not clock.wait(0)
signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
end = time.monotonic() + 1
while time.monotonic() < end:
    clock.wait(0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert clock.wait(60)
"""


def test_a_signal_ends_the_wait_at_any_moment():
    """Even during the wait itself and many times over: no lock is held, and a full pipe does no harm."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=30, check=False)

    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_the_clock_works_with_more_descriptors_than_select_takes(many_files):
    """Its pipe is opened after the maps."""
    clock = run._Clock()

    assert not clock.wait(0.001)
    clock.stop()
    assert clock.wait(60)


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, True),
        (["--base-point"], {}, False),
        ([], {"XDP_OTEL_BASE_POINT": "true"}, False),
        ([], {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}, False),
        (["--otel-endpoint", "none", "--status-address", ":0"], {}, False),
        (["--once"], {}, False),
    ],
)
def test_what_a_restart_of_the_collector_costs_is_logged_where_it_applies(
    arguments, environ, expected, caplog
):
    """One line at the start, with the flag that helps."""
    caplog.set_level(logging.INFO)
    flags = registry.parser().parse_args(["run", "--map-id", "1", *arguments])
    run._log_endpoint(config_from(flags, environ))

    assert caplog.text.count("without --base-point, a Collector that restarts") == int(expected)


@pytest.fixture
def many_files():
    """Open more than 1024 files."""
    limits.raise_open_files()
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for file in files:
        os.close(file)


def test_no_second_openssl_is_loaded(tmp_path):
    """gRPC has its own; Python's would take memory, as would numpy, which small maps do not need."""
    program = f"""
import sys
from pathlib import Path
from sidecar import otlp_push, run
from sidecar.otlp import resource
resource.resource_attributes(Path({str(tmp_path)!r}))
print({{"ssl", "_ssl", "_hashlib", "numpy"}} & sys.modules.keys())
import ssl
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([MapRef("pin", "/sys/fs/bpf/x")], ""),
        (
            [MapRef("interface", "eth0"), MapRef("interface", "eth1"), MapRef("pin", "/sys/fs/bpf/x")],
            "; to remove the program: xdp-otel detach --interface eth0 --interface eth1",
        ),
        (
            [MapRef("interface", "eth0", "blue"), MapRef("interface", "eth1")],
            "; to remove the program: xdp-otel detach --netns blue --interface eth0 and "
            "xdp-otel detach --interface eth1",
        ),
    ],
)
def test_the_last_line_names_what_stays_and_how_to_remove_it(places, expected):
    """A program of another owner is theirs to remove."""
    specs = [SourceSpec(place) for place in places]

    assert run._last_line(specs) == f"stopped; the kernel keeps counting{expected}"
