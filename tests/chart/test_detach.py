# SPDX-License-Identifier: Apache-2.0
"""What the uninstallation removes from a node."""

import contextlib
import subprocess
import sys
import time

from sidecar.state.journal import Journal
from tests.chart.chart import CHART


def detach(state):
    subprocess.run([sys.executable, CHART / "files/detach.py", state], check=True, capture_output=True)


def test_all_state_is_removed(tmp_path):
    """The sidecar's, the Collector's queue and the directory itself; running twice is harmless."""
    state = tmp_path / "state"
    (state / "queue").mkdir(parents=True)
    for name in ("journal", "journal.damaged", "instance-id", "queue/batch"):
        (state / name).touch()
    detach(state)
    detach(state)

    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay(tmp_path):
    """The state directory may be shared with other programs."""
    for name in ("journal", "etcd.db"):
        (tmp_path / name).touch()
    detach(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["etcd.db"]


def test_uninstallation_waits_for_a_running_sidecar(tmp_path):
    """Its last cycle still writes to the state directory."""
    state = tmp_path / "state"
    with contextlib.closing(Journal(state)):
        (state / "journal").touch()
        detaching = subprocess.Popen(
            [sys.executable, CHART / "files/detach.py", state], stdout=subprocess.DEVNULL
        )
        time.sleep(1)
        assert detaching.poll() is None
        assert (state / "journal").exists()

    assert detaching.wait(30) == 0
    assert not state.exists()
