# SPDX-License-Identifier: Apache-2.0
"""What runs in the test machine: the features of its kernel, the kernel tests, and one end-to-end run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from demo import patience
from tests.kernel import compiled
from tests.kernels import features, record
from tests.kernels.packages import OBJECTS

RESULTS = Path("/run/results")

_ALL = ("tests/e2e/test_path.py::test_query_equals_truth", "tests/kernel")
_PYTEST = (
    *(sys.executable, "-m", "pytest", "--kernel=auto", "--hypothesis-profile=brief", "-o", "timeout=1800"),
    *("-v", "--color=no", "-p", "no:cacheprovider", "-p", "tests.kernels.record", "--tb=short"),
)
_PATIENCE = 10
"""How many times as long as elsewhere a test waits: emulation is that slow."""


def main(arguments: list[str]) -> None:
    """Run the tests that *arguments* select, by default one end-to-end run and all kernel tests."""
    _prepare()
    path = RESULTS / "report.json"
    selections = json.loads(path.read_text())["selections"] if path.exists() else []
    selection = arguments or list(_ALL)
    report = {"features": features.found(), "selections": [*selections, selection]}
    path.write_text(json.dumps(report | {"ended": False}))
    subprocess.run([*_PYTEST, *selection], check=False)
    path.write_text(json.dumps(report | {"ended": True}))


def _prepare() -> None:
    """Do what a distribution does at boot and the tests need."""
    for command in (
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        "mount -t bpf bpf /sys/fs/bpf",
        "mkdir -p /dev/pts /dev/shm",
        "mount -t devpts devpts /dev/pts",
        "mount -t tmpfs tmpfs /dev/shm",
        "modprobe tun",  # for /dev/net/tun
        "ip link set lo up",
    ):
        subprocess.run(command.split(), check=True)
    os.environ["TMPDIR"] = "/tmp"
    os.environ[patience.VARIABLE] = str(_PATIENCE)
    os.environ[compiled.VARIABLE] = str(OBJECTS)
    os.environ[record.VARIABLE] = str(RESULTS / record.NAME)


if __name__ == "__main__":
    main(sys.argv[1:])
