# SPDX-License-Identifier: Apache-2.0
"""A container with systemd as its first process and its own network, bpffs and file system."""

import json
import os
import subprocess
from contextlib import contextmanager

from demo.processes import ROOT, run
from demo.prometheus import METRICS
from demo.tap import FIELDS
from tests.waiting import matching, settled

PODMAN = os.environ.get("CONTAINER_TOOL", "podman")
PREFIX = os.environ.get("IMAGE_PREFIX", "localhost")
NAME = "xdp-otel-systemd-test"
INTERFACE = "node0"
PEER = "client0"
SOURCE = "/src"

SENDER = f"""
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
    packets.bind(("{PEER}", 0))
    for line in sys.stdin:
        packets.send(bytes.fromhex(line))
"""
SCRAPE = (
    "import urllib.request as r; print(r.urlopen('http://localhost:8889/metrics', timeout=5).read().decode())"
)
# Paths that the machine itself writes, and the backup copies of package managers and useradd.
RESTLESS = (
    "/dev",
    "/etc/.pwd.lock",
    "/proc",
    "/root/.cache",
    "/run",
    "/src",
    "/sys",
    "/tmp",
    "/var/log",
    "/var/tmp",
)
COPIES = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-")


@contextmanager
def machine():
    """Boot the machine; remove it at the end."""
    subprocess.run([PODMAN, "rm", "--force", NAME], check=False, capture_output=True)
    flags = ["--detach", "--name", NAME, "--systemd=always", "--privileged", "--network=none"]
    run(PODMAN, "run", *flags, f"--volume={ROOT}:{SOURCE}:ro", f"{PREFIX}/systemd:test")
    try:
        wait(lambda: said("systemctl", "is-system-running") in {"running", "degraded"})
        call("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", PEER)
        for name in (INTERFACE, PEER):
            # Without addresses, the kernel sends nothing on its own.
            call("ip", "link", "set", name, "addrgenmode", "none", "up")
        yield
    finally:
        run(PODMAN, "rm", "--force", "--time=0", NAME)


def execute(*command, **options):
    """Run a command in the machine; pip uses the packages in the image."""
    packages = ["--env=PIP_NO_INDEX=1", "--env=PIP_FIND_LINKS=/wheels"]
    return subprocess.run(
        [PODMAN, "exec", "--interactive", *packages, NAME, *command],
        check=False,
        capture_output=True,
        text=True,
        **options,
    )


def said(*command):
    return execute(*command).stdout.strip()


def call(*command, **options):
    """Run a command in the machine that must succeed; return its output."""
    done = execute(*command, **options)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
    return done.stdout


def install(*arguments):
    return call(f"{SOURCE}/deploy/systemd/install", *arguments)


def uninstall(*arguments):
    return call(f"{SOURCE}/deploy/systemd/uninstall", *arguments)


def show(unit, key):
    return said("systemctl", "show", "--property", key, "--value", unit)


def send(frames):
    call("python3", "-c", SENDER, input="\n".join(map(bytes.hex, frames)))


def kernel():
    """Return the kernel's counts, read by bpftool and summed over the CPUs."""
    dump = call("bpftool", "--json", "map", "dump", "pinned", f"/sys/fs/bpf/xdp-otel/{INTERFACE}/stats_map")
    values = json.loads(dump)[0]["formatted"]["values"]
    return {field: sum(value["value"][field] for value in values) for field in FIELDS}


def served():
    """Return the counters of the interface that the Collector serves."""
    lines = [line for line in said("python3", "-c", SCRAPE).splitlines() if INTERFACE in line]
    values = {line.partition("{")[0]: line.rpartition(" ")[2] for line in lines}
    return {field: int(float(values[name])) for field, name in METRICS.items() if name in values}


def wait_until_served(expected):
    """Return what is served once it is as expected, or the last reading once time is up."""
    return settled(served, expected)


def assert_counters_continue(before, frames):
    """After a new installation the kernel has *frames* only, and what is served is *before* and these."""
    send(frames)
    after = kernel()
    total = {field: before[field] + after[field] for field in after}
    assert len(frames) == after["total_packets"]
    assert total == wait_until_served(total)


def wait(is_done, timeout_s=60):
    """Return once it is done or time is up."""
    matching(is_done, bool, timeout_s)


def restarted(unit, kill_with="KILL"):
    """Kill a unit's process; return whether systemd restarted it."""
    before = show(unit, "MainPID")
    call("systemctl", "kill", "--signal", kill_with, unit)
    wait(lambda: show(unit, "MainPID") not in {before, "0"} and show(unit, "ActiveState") == "active")
    return show(unit, "ActiveState") == "active"


def files(*, times=False):
    """Return a line for every file of the machine: path, owner, mode, link target."""
    prune = " -o ".join(f"-path {path}" for path in RESTLESS)
    what = "%p %U %m %y %l" + (" %s %T@" if times else "")
    found = call("sh", "-c", f"find / -xdev \\( {prune} \\) -prune -o -printf '{what}\\n'").splitlines()
    return {line for line in found if not line.split(" ")[0].endswith(COPIES) and "/__pycache__" not in line}
