# SPDX-License-Identifier: Apache-2.0
"""What an uninstallation removes from a node."""

import contextlib
import subprocess
import sys
import time

from sidecar.state.journal import Journal
from tests.chart.chart import CHART


def leave(state):
    subprocess.run([sys.executable, CHART / "files/leave.py", state], check=True, capture_output=True)


def test_all_state_is_removed(tmp_path):
    """The sidecar's, the Collector's queue and the directory itself; running twice is harmless."""
    state = tmp_path / "state"
    (state / "queue").mkdir(parents=True)
    for name in ("journal", "journal.damaged", "instance-id", "queue/batch"):
        (state / name).touch()
    leave(state)
    leave(state)

    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay(tmp_path):
    """The state directory may be shared with other programs."""
    for name in ("journal", "etcd.db"):
        (tmp_path / name).touch()
    leave(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["etcd.db"]


def test_uninstallation_waits_for_a_running_sidecar(tmp_path):
    """Its last cycle still writes to the state directory."""
    state = tmp_path / "state"
    with contextlib.closing(Journal(state)):
        (state / "journal").touch()
        leaving = subprocess.Popen(
            [sys.executable, CHART / "files/leave.py", state], stdout=subprocess.DEVNULL
        )
        time.sleep(1)
        assert leaving.poll() is None
        assert (state / "journal").exists()

    assert leaving.wait(30) == 0
    assert not state.exists()
