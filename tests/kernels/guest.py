# SPDX-License-Identifier: Apache-2.0
"""What runs in the test machine: the features of its kernel, the kernel tests, and one end-to-end run."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.kernels import features

RESULTS = Path("/run/results")

_CYCLE = ("tests/e2e/test_path.py::test_query_equals_truth",)
_PYTEST = (
    *(sys.executable, "-m", "pytest", "--kernel=auto", "--hypothesis-profile=brief", "-o", "timeout=1800"),
    *("-v", "--color=no", "-p", "no:cacheprovider", "--tb=short"),
)


def main(arguments: list[str]) -> None:
    """Run the tests that *arguments* select, by default all kernel tests, and the end-to-end run."""
    _prepare()
    selection = arguments or ["tests/kernel"]
    (RESULTS / "report.json").write_text(json.dumps({"selection": selection, "features": features.found()}))
    _test("kernel", *selection)
    _test("cycle", *_CYCLE)


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


def _test(name: str, *selection: str) -> None:
    subprocess.run([*_PYTEST, f"--junitxml={RESULTS}/{name}.xml", *selection], check=False)


if __name__ == "__main__":
    main(sys.argv[1:])
