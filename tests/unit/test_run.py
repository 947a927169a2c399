# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

import pytest

from sidecar import run
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
