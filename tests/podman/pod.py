# SPDX-License-Identifier: Apache-2.0
"""The pod under test: played and taken down by the scripts that users run, on an interface of its own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

from demo.ports import Ports
from demo.processes import ROOT, run
from demo.prometheus import counters, fetch, query
from demo.stack import kernel_counts
from tests.waiting import answered, settled

PODMAN = os.environ.get("CONTAINER_TOOL", "podman")
PREFIX = os.environ.get("IMAGE_PREFIX", "localhost")
INTERFACE = "xdppodman0"
NAMESPACE = "xdp-podman-test"
PEER = "peer0"
CONTAINERS = ("sidecar", "collector", "prometheus", "grafana")
# The pod's own: fixed, since they are what users get.
PORTS = Ports()


@contextmanager
def interface():
    """Make the interface that is counted, and the namespace whose frames arrive at it, and no others do."""
    run("ip", "netns", "add", NAMESPACE)
    try:
        run("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", PEER, "netns", NAMESPACE)
        for place, name in (((), INTERFACE), (("-n", NAMESPACE), PEER)):
            # Without addresses, and so without a word of the kernel's own.
            run("ip", *place, "link", "set", name, "addrgenmode", "none")
            run("ip", *place, "link", "set", name, "up")
        yield
    finally:
        subprocess.run(["ip", "link", "delete", INTERFACE], check=False)
        run("ip", "netns", "delete", NAMESPACE)


SENDER = f"""
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
    packets.bind(("{PEER}", 0))
    for line in sys.stdin:
        packets.send(bytes.fromhex(line))
"""


def send(frames):
    """Send each frame once, as it is."""
    command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c", SENDER]
    subprocess.run(command, input="\n".join(map(bytes.hex, frames)), text=True, check=True)


def up(environment, *interfaces):
    return script("up", environment, *(interfaces or (INTERFACE,)))


def down(*arguments):
    return script("down", {}, *arguments)


def script(name, environment, *arguments):
    """Run one of the scripts; return what it said, and fail with it if it fails."""
    command = [str(ROOT / "deploy/podman" / name), *arguments]
    environ = {**os.environ, "CONTAINER_TOOL": PODMAN, **environment}
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def podman(*arguments):
    return run(PODMAN, *arguments)


def inspect(container):
    return json.loads(podman("inspect", f"xdp-otel-{container}"))[0]


def crash(container):
    """End a container as a crash does, unlike `podman kill`, after which it is meant to stay down."""
    before = inspect(container)["State"]
    os.kill(before["Pid"], signal.SIGKILL)

    def restarted():
        now = inspect(container)["State"]
        return now["StartedAt"] != before["StartedAt"] and now["Running"]

    answered(restarted)


def wait_until_equal(expected):
    """Wait until Prometheus has the expected counters; return what it says in the end."""
    return settled(lambda: counters(PORTS, INTERFACE), expected)


def wait_until(promql, expected):
    """Wait until a query has the expected answer; return the last one."""
    return settled(lambda: query(PORTS, promql), expected)


def ask(port, path):
    """Return what a container answers, which may have been started a moment ago."""
    return json.loads(answered(lambda: fetch(f"http://127.0.0.1:{port}/{path}")))


def kernel():
    return kernel_counts(INTERFACE)
