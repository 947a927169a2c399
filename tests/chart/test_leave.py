# SPDX-License-Identifier: Apache-2.0
"""What an uninstallation removes from a node."""

import subprocess
import sys

from tests.chart.chart import CHART


def leave(state):
    subprocess.run([sys.executable, CHART / "files/leave.py", state], check=True, capture_output=True)


def test_all_state_is_removed(tmp_path):
    """Of the sidecar and of the Collector's queue, and the directory with it; twice is as good as once."""
    state = tmp_path / "state"
    (state / "queue").mkdir(parents=True)
    for name in ("journal", "journal.damaged", "instance-id", "lock", "queue/batch"):
        (state / name).touch()
    leave(state)
    leave(state)

    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays(tmp_path):
    """Somebody may have named a directory that others use as well."""
    for name in ("journal", "etcd.db"):
        (tmp_path / name).touch()
    leave(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["etcd.db"]
