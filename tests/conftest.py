# SPDX-License-Identifier: Apache-2.0
"""Which tests run: those that need the kernel by --kernel, those that need podman by a variable."""

import os
import platform
from pathlib import Path

import pytest

from demo.bpf_commands import map_create
from sidecar.kernel import uapi
from tests import examples

examples.register()

_HERE = Path(__file__).parent
_NEED_KERNEL = ("kernel", "e2e", "chaos", "docs")
_NEED_ARTEFACTS = {
    "podman/test_podman.py": ("podman", "podman and images"),
    "systemd/test_services.py": ("systemd", "podman and images"),
    "release/test_arm64_kernel.py": ("arm64", "what is released, and QEMU"),
    "release/test_artefacts.py": ("release", "what is released"),
    "release/test_chart.py": ("release", "what is released"),
    "release/test_images.py": ("release", "what is released"),
    "release/test_sidecar.py": ("release", "what is released"),
    "selinux/test_policy.py": ("selinux", "SELinux's tools and Debian's policy"),
    "release/test_deb.py": ("release", "what is released, podman and images"),
    "release/test_packages.py": ("release", "what is released, and rpm"),
}
"""By file: the make target `test-…` that runs it and sets XDP_OTEL_TEST_… to 1, and what it makes first."""
_counts = {"run": 0, "skipped": 0}


def pytest_addoption(parser):
    parser.addoption(
        "--kernel",
        choices=("require", "auto", "off"),
        default="auto",
        help="tests that need root and bpf(2): fail without (require), skip without (auto), leave out (off)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_kernel: loads programs, creates maps, interfaces or namespaces")


def pytest_collection_modifyitems(config, items):
    mode = config.getoption("--kernel")
    missing = "left out by --kernel=off" if mode == "off" else _missing()
    for item in items:
        place = item.path.relative_to(_HERE)
        target, needs = _NEED_ARTEFACTS.get(str(place), ("", ""))
        if target and os.environ.get(f"XDP_OTEL_TEST_{target.upper()}") != "1":
            item.add_marker(pytest.mark.skip(reason=f"needs {needs}: make test-{target}"))
        if place.parts[0] not in _NEED_KERNEL:
            continue
        item.add_marker(pytest.mark.needs_kernel)
        if missing and mode != "require":
            item.add_marker(pytest.mark.skip(reason=f"{missing} (run with --kernel=require to force)"))


def _missing():
    try:
        os.close(
            map_create(uapi.MAP_PERCPU_ARRAY, key_size=4, value_size=8, max_entries=1, name="kernel_probe")
        )
    except OSError as error:
        return f"no bpf(2) here: {error}"
    return "" if os.geteuid() == 0 else "not root"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if item.get_closest_marker("needs_kernel"):
        if report.skipped and item.config.getoption("--kernel") == "require":
            report.outcome = "failed"
            report.longrepr = f"skipped although --kernel=require: {report.longrepr}"
        elif report.skipped:
            _counts["skipped"] += 1
        elif report.when == "call":
            _counts["run"] += 1
    return report


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(
        f"kernel tests: {_counts['run']} run, {_counts['skipped']} skipped on {platform.release()}"
    )


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "state"
