# SPDX-License-Identifier: Apache-2.0
"""The DEBs on a machine with systemd: installed, upgraded, removed, purged; in this order, on one machine."""

import shutil
import threading
from contextlib import contextmanager

import pytest

from demo.frames import every_kind
from demo.processes import ROOT, run
from sidecar import __version__
from tests.systemd import machine

NAMES = ("otelcol-xdp", "xdp-otel")
NEXT = ROOT / ".build/next"
ENVIRONMENT = "/etc/xdp-otel/xdp-otel.env"
PINS = f"/sys/fs/bpf/xdp-otel/{machine.INTERFACE}"
FRAMES = list(every_kind(b"\x02\0\0\0\0\x01").values())
# What package management keeps for itself.
RECORDS = ("/var/lib/dpkg", "/var/cache", "/var/lib/apt")


def packages(directory="dist", version=__version__):
    return [f"{machine.SOURCE}/{directory}/{name}_{version}-1_amd64.deb" for name in NAMES]


def apt(*arguments):
    """Run apt-get, which asks nothing and finds what packages depend on in the image, or fails."""
    return machine.call("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", *arguments)


def files():
    return {line for line in machine.files() if not line.startswith(RECORDS)}


def exists(path):
    return machine.execute("test", "-e", path).returncode == 0


def program():
    """Return the XDP program of the interface, as `ip` describes it."""
    lines = machine.call("ip", "link", "show", machine.INTERFACE).splitlines()
    return [line.strip() for line in lines if "prog/xdp" in line]


def states(key):
    return [machine.show(name, key) for name in NAMES]


def start():
    source = f"s|^XDP_OTEL_SOURCES=.*|XDP_OTEL_SOURCES=--interface={machine.INTERFACE}|"
    machine.call("sed", "-i", source, ENVIRONMENT)
    machine.call("systemctl", "enable", "--now", "--quiet", *NAMES)


@contextmanager
def traffic():
    """Send frames without a pause while the block runs."""
    stop = threading.Event()
    errors = []

    def send():
        try:
            while not stop.is_set():
                machine.send(FRAMES)
        except AssertionError as error:
            errors.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
    assert errors == []


@pytest.fixture(scope="module")
def pristine():
    """The booted machine; yields its files before anything was installed."""
    with machine.machine():
        yield files()


@pytest.fixture(scope="module")
def installed(pristine):
    """The machine with both packages, not configured."""
    return apt("install", *packages())


@pytest.fixture(scope="module")
def running(installed):
    """The machine, configured and counting."""
    start()


@pytest.fixture(scope="module")
def newer():
    """The packages once more, under a later version."""
    shutil.rmtree(NEXT, ignore_errors=True)
    NEXT.mkdir()
    for name in NAMES:
        tree = NEXT / name
        run("dpkg-deb", "--raw-extract", f"{ROOT}/dist/{name}_{__version__}-1_amd64.deb", str(tree))
        control = tree / "DEBIAN/control"
        control.write_text(control.read_text().replace(f"Version: {__version__}-1", "Version: 99-1"))
        run("dpkg-deb", "-Zgzip", "-z1", "--build", str(tree), f"{NEXT}/{name}_99-1_amd64.deb")
    yield packages(".build/next", "99")
    shutil.rmtree(NEXT)


def test_nothing_is_started_before_it_is_configured(installed):
    assert ["inactive", "inactive"] == states("ActiveState")
    assert ["disabled", "disabled"] == states("UnitFileState")
    assert [] == program()


def test_the_programs_run_with_the_packages_inside(installed):
    """No other Python package is on this machine; bytecode is there, which a service may not write."""
    assert machine.said("xdp-otel", "--version") == f"xdp-otel {__version__}"
    modules = "import sys; sys.path.append('/usr/lib/xdp-otel/python'); import grpc, numpy, yaml.cyaml"
    machine.call("python3", "-IS", "-c", modules)
    assert exists("/usr/lib/xdp-otel/python/sidecar/__pycache__")
    assert "delta_to_cumulative" in machine.call("otelcol-xdp", "components")


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_valid(installed, name):
    verified = machine.execute("systemd-analyze", "verify", f"{name}.service")
    assert (0, "") == (verified.returncode, verified.stderr)


def test_what_may_hold_a_secret_is_for_root_only(installed):
    assert "600 root" == machine.said("stat", "--format=%a %U", ENVIRONMENT)


def test_it_counts_once_it_is_started(running):
    machine.send(FRAMES * 10)

    counted = machine.kernel()
    assert len(FRAMES) * 10 == counted["total_packets"]
    assert counted == machine.wait_until_served(counted)
    assert ["enabled", "enabled"] == states("UnitFileState")


def test_an_upgrade_keeps_counting(running, newer):
    """Under traffic: the program stays attached, the services restart, and each packet is counted once."""
    attached, processes = program(), states("MainPID")

    with traffic():
        apt("install", *newer)
    machine.send(FRAMES)

    assert attached == program()
    assert ["active", "active"] == states("ActiveState")
    assert all(old != new for old, new in zip(processes, states("MainPID"), strict=True))
    assert f"--interface={machine.INTERFACE}" in machine.call("cat", ENVIRONMENT)
    counted = machine.kernel()
    assert counted == machine.wait_until_served(counted)


def test_removing_detaches_and_keeps_the_state(running):
    """Configuration and journal stay, and a new installation continues the counters."""
    before = machine.kernel()
    apt("remove", *NAMES)

    assert [] == program()
    assert not exists(PINS)
    assert not exists("/usr/lib/xdp-otel")
    assert exists(ENVIRONMENT)

    apt("install", *packages())
    assert ["inactive", "inactive"] == states("ActiveState")
    start()
    machine.assert_counters_continue(before, FRAMES)


def test_purging_leaves_the_machine_as_it_was(pristine, running):
    """Programs, configuration, state, user: every file is as before the installation."""
    apt("purge", *NAMES)

    assert [] == program()
    assert pristine == files()
    assert machine.execute("getent", "passwd", "xdp-otel").returncode != 0
