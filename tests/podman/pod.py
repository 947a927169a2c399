# SPDX-License-Identifier: Apache-2.0
"""The pod under test, started and stopped by the users' scripts, on its own interface."""

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
# The pod's fixed ports, as users get them.
PORTS = Ports()


@contextmanager
def interface():
    """Make the counted interface and the namespace of its peer, the only sender of frames to it."""
    run("ip", "netns", "add", NAMESPACE)
    try:
        run("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", PEER, "netns", NAMESPACE)
        for place, name in (((), INTERFACE), (("-n", NAMESPACE), PEER)):
            # Without addresses, the kernel sends nothing on its own.
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
    """Send each frame once, unchanged."""
    command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c", SENDER]
    subprocess.run(command, input="\n".join(map(bytes.hex, frames)), text=True, check=True)


def up(environment, *interfaces):
    return script("up", environment, *(interfaces or (INTERFACE,)))


def down(*arguments):
    return script("down", {}, *arguments)


def script(name, environment, *arguments):
    """Run a script; return its output, or fail with it."""
    command = [str(ROOT / "deploy/podman" / name), *arguments]
    environ = {**os.environ, "CONTAINER_TOOL": PODMAN, **environment}
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def podman(*arguments):
    return run(PODMAN, *arguments)


def inspect(container):
    return json.loads(podman("inspect", f"xdp-otel-{container}"))[0]


def crash(container):
    """Crash a container and wait for its restart; after `podman kill` it would stay down."""
    before = inspect(container)["State"]
    os.kill(before["Pid"], signal.SIGKILL)

    def restarted():
        now = inspect(container)["State"]
        return now["StartedAt"] != before["StartedAt"] and now["Running"]

    answered(restarted)


def wait_until_equal(expected):
    """Return Prometheus' counters once they are as expected, or the last reading once time is up."""
    return settled(lambda: counters(PORTS, INTERFACE), expected)


def wait_until(promql, expected):
    """Return the result of a query once it is as expected, or the last one once time is up."""
    return settled(lambda: query(PORTS, promql), expected)


def ask(port, path):
    """Return the JSON that a container serves; it may still be starting."""
    return json.loads(answered(lambda: fetch(f"http://127.0.0.1:{port}/{path}")))


def kernel():
    return kernel_counts(INTERFACE)
