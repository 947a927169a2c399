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

clock = run._stoppable_clock(SimpleNamespace(interrupt=lambda: None))
assert not clock.wait(0)
signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
end = time.monotonic() + 1
while time.monotonic() < end:
    clock.wait(0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert clock.wait(60)
"""


def test_a_signal_ends_the_wait_whenever_it_comes():
    """At any point of the waiting itself, and as often as it likes: nothing is locked, nothing is full."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=30, check=False)

    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_more_maps_than_select_knows_descriptors_are_no_trouble(many_files):
    """The clock's pipe is opened after them."""
    clock = run._Clock()

    assert not clock.wait(0.001)
    clock.stop()
    assert clock.wait(60)


@pytest.fixture
def many_files():
    """More than 1024 open files."""
    limits.raise_open_files()
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for file in files:
        os.close(file)


def test_no_second_openssl_is_loaded(tmp_path):
    """gRPC has its own; Python's, and numpy, are memory that the default map does not need."""
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
