# SPDX-License-Identifier: Apache-2.0
"""A running sidecar follows interfaces, programs, pins and names that disappear and come back."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_create, map_update
from sidecar.kernel import libbpf, uapi
from tests.kernel.frames import send
from tests.kernel.packets import TCP
from tests.kernel.user_program import UserProgram
from tests.waiting import patient
from tests.wire.conftest import Collector

COMMAND = (sys.executable, "-m", "sidecar", "run", "--interval", "0.2")


@pytest.fixture(scope="module")
def server():
    with Collector() as running:
        yield running


@pytest.fixture
def run(server, tmp_path):
    """Run the sidecar on these places until the block ends; then it must end well."""

    @contextmanager
    def running(*places):
        server.forget()
        log = tmp_path / "sidecar.log"
        options = ("--otel-endpoint", f"127.0.0.1:{server.port}", "--state-dir", tmp_path / "state")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*COMMAND, *places, *options],
                stderr=output,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
        try:
            eventually(lambda: " delivered " in log.read_text() or process.poll() is not None, True, log)
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(patient(60))
        assert code == 0, log.read_text()

    return running


def eventually(read, expected, log):
    """Wait until *read* gives what is expected; show the log if it never does."""
    deadline = time.monotonic() + patient(60)
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected, log.read_text()


def add(veth):
    """Make a pair of interfaces under the names of one that was deleted."""
    names = (veth.name, f"{veth.name}p")
    subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], check=True)
    for name in names:
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", name, "up"], check=True)


def carries(veth):
    try:
        return libbpf.attached_prog_id(socket.if_nametoindex(veth.name)) != 0
    except OSError:
        return False


def test_an_interface_that_comes_back_is_attached_again(run, server, veth):
    """By itself, under another index; earlier counts stay."""
    with run("--interface", veth.name) as log:
        send(veth, 3)
        eventually(lambda: server.total("xdp.packets.total"), 3, log)
        before = socket.if_nametoindex(veth.name)
        subprocess.run(["ip", "link", "del", veth.name], check=True)
        eventually(lambda: "no such interface" in log.read_text(), True, log)
        add(veth)
        eventually(lambda: carries(veth), True, log)
        send(veth, 4)

        assert socket.if_nametoindex(veth.name) != before
        eventually(lambda: server.total("xdp.packets.total"), 7, log)


def test_an_interface_recreated_between_two_cycles_is_attached_again(run, server, veth):
    """As in a restart of a container."""
    with run("--interface", veth.name) as log:
        for round_ in range(1, 4):
            subprocess.run(["ip", "link", "del", veth.name], check=True)
            add(veth)
            eventually(lambda: carries(veth), True, log)
            send(veth, 5)
            eventually(lambda: server.total("xdp.packets.total"), 5 * round_, log)


def reload(program, tmp_path):
    """End a user's program with its pins, and load it anew: another map, under the same pin and name."""
    program.close()
    return UserProgram(program.interface, program.directory, tmp_path)


def test_a_reloaded_program_is_followed(run, server, flows, tmp_path, monkeypatch):
    """The last packets of the old map and the first of the new one are counted, under the same pin."""
    with run("--map-path", flows.map) as log:
        flows.send("192.0.2.1", TCP, 3)
        successor = reload(flows, tmp_path)
        monkeypatch.setattr(flows, "close", successor.close)
        eventually(lambda: "replaced map id" in log.read_text(), True, log)
        successor.send("192.0.2.1", TCP, 4)

        eventually(lambda: server.total("flows.packets"), 7, log)


def counting(name, packets):
    """Make a map of packet counters; return its file descriptor."""
    fd = map_create(uapi.MAP_ARRAY, key_size=4, value_size=64, max_entries=1, name=name)
    map_update(fd, bytes(4), struct.pack("=8Q", packets, 0, 0, 0, 0, packets, 0, 0))
    return fd


def test_a_map_that_takes_over_a_name_is_followed(run, server, cleanup):
    """The old map, kept alive by the sidecar alone, is read a last time."""
    name = f"t{uuid.uuid4().hex[:12]}"
    old = counting(name, 3)
    with run("--map-name", name, "--profile", "packet-counter") as log:
        eventually(lambda: server.total("xdp.packets.total"), 3, log)
        map_update(old, bytes(4), struct.pack("=8Q", 5, 0, 0, 0, 0, 5, 0, 0))
        new = counting(name, 4)
        cleanup.callback(os.close, new)
        os.close(old)

        eventually(lambda: server.total("xdp.packets.total"), 9, log)


def test_a_recreated_pin_is_followed(run, server, flows, tmp_path, monkeypatch):
    """While it is gone the open map is read on, and the log says so once."""
    with run("--map-path", flows.map) as log:
        flows.send("192.0.2.1", TCP, 3)
        eventually(lambda: server.total("flows.packets"), 3, log)
        flows.map.unlink()
        flows.send("192.0.2.1", TCP, 4)
        eventually(lambda: server.total("flows.packets"), 7, log)
        successor = reload(flows, tmp_path)
        monkeypatch.setattr(flows, "close", successor.close)
        successor.send("192.0.2.1", TCP, 5)

        eventually(lambda: server.total("flows.packets"), 12, log)
    assert log.read_text().count("continuing with the map that is open") == 1


def test_removed_pins_of_the_sidecar_are_recreated(run, server, veth):
    """The old map is read a last time and the program attached again."""
    with run("--interface", veth.name) as log:
        send(veth, 6)
        veth.link_pin.unlink()
        veth.map_pin.unlink()
        eventually(veth.link_pin.exists, True, log)
        eventually(lambda: "replaced map id" in log.read_text(), True, log)
        send(veth, 2)

        eventually(lambda: server.total("xdp.packets.total"), 8, log)
