# SPDX-License-Identifier: Apache-2.0
"""SIGHUP on real maps, interfaces and rights; what a service manager receives meanwhile."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_update
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.interface_lock import InterfaceLock
from tests.kernel.frames import send
from tests.waiting import answered, patient, settled

ROOT = Path(__file__).parents[2]
PIN = """\
  - pin: {pin}
    layout: {{value: {{{fields}}}}}
    metrics: [{{name: test.packets, field: {field}}}]
"""


def source(pin, field="packets", fields="{field}: u64, other: u64"):
    return PIN.format(pin=pin, field=field, fields=fields.format(field=field))


class Sidecar:
    """A running sidecar and its configuration file."""

    def __init__(self, process, config, log):
        self.process, self._config, self._log = process, config, log

    @property
    def log(self):
        return self._log.read_text()

    def reload(self, *sources, result="reloaded: "):
        """Return the lines that SIGHUP with these sources added to the log, up to one with the result."""
        before = len(self.log.splitlines())
        self._config.write_text("sources:\n" + "".join(sources))
        self.process.send_signal(signal.SIGHUP)
        answered(lambda: any(result in line for line in self.log.splitlines()[before:]))
        return next(line for line in self.log.splitlines()[before:] if result in line)


@pytest.fixture
def run(tmp_path, server):
    """Start the sidecar on sources; it must end well."""

    @contextmanager
    def running(*sources, interval="0.2", environ=None):
        config, log = tmp_path / "sources.yaml", tmp_path / "sidecar.log"
        config.write_text("sources:\n" + "".join(sources))
        command = [sys.executable, "-m", "sidecar", "run", "--config", config, "--interval", interval]
        command += ["--state-dir", tmp_path / "state", "--otel-endpoint", f"127.0.0.1:{server.port}"]
        environ = os.environ | {"PYTHONPATH": str(ROOT)} | (environ or {})
        with log.open("wb") as output:
            process = subprocess.Popen(command, stderr=output, env=environ)
        try:
            answered(lambda: server.calls)
            yield Sidecar(process, config, log)
            process.terminate()
            assert process.wait(patient(30)) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    return running


@pytest.fixture
def array(make_map):
    """Make a map of two u64; return its descriptor and a function that sets the first."""

    def make(value_size=16):
        fd = make_map(uapi.MAP_ARRAY, value_size=value_size, name="counted")

        def count(packets):
            map_update(fd, bytes(4), packets.to_bytes(8, sys.byteorder) + bytes(value_size - 8))

        return fd, count

    return make


def test_an_upgraded_program_is_read_with_the_new_configuration(run, server, array, make_pin):
    """The file is mended for the map that is at the pin now; the old one's last counts arrive too."""
    fd, count = array()
    pin = make_pin(fd)
    count(3)
    with run(source(pin)) as sidecar:
        answered(lambda: server.total("test.packets") == 3)
        successor, count_again = array(24)
        pin.unlink()
        bpf.obj_pin(successor, str(pin))
        answered(lambda: "continuing with the map that is open" in sidecar.log)
        count(10)
        count_again(4)

        sidecar.reload(source(pin, fields="{field}: u64, x: u64, y: u64"))

        assert settled(lambda: server.total("test.packets"), 14) == 14, sidecar.log


def test_a_removed_pin_does_not_end_its_source(run, server, array, make_pin):
    """Only the sidecar keeps the map alive, so it is handed over to the new configuration."""
    fd, count = array()
    pin = make_pin(fd)
    with run(source(pin)) as sidecar:
        pin.unlink()
        count(5)
        sidecar.reload(source(pin, "frames"))
        count(9)

        assert settled(lambda: server.total("test.packets"), 9) == 9, sidecar.log


def test_an_interface_stays_locked_and_is_released_when_it_is_removed(run, server, veth, array, make_pin):
    """Its own lock is no obstacle; with the source the lock goes, and the program stays attached."""
    pin = make_pin(array()[0])
    interface = f"  - interface: {veth.name}\n"
    with run(interface) as sidecar:
        send(veth, 3)
        sidecar.reload(f"{interface}    attributes: {{site: here}}\n", source(pin))
        send(veth, 4)
        answered(lambda: server.total("xdp.packets.total") == 7)

        sidecar.reload(source(pin))
        with contextlib.closing(InterfaceLock(veth)) as lock:
            lock.acquire()
        send(veth, 2)
        sidecar.reload(interface, source(pin))

        assert settled(lambda: server.total("xdp.packets.total"), 9) == 9, sidecar.log


def test_rights_that_were_dropped_are_named(run, server, veth, array, make_pin):
    """An interface needs more than a pin did; the error says that a restart is the way."""
    pin = make_pin(array()[0])
    with run(source(pin)) as sidecar:
        line = sidecar.reload(source(pin), f"  - interface: {veth.name}\n", result="reload refused")

        assert "ERROR reload refused, the configuration stays as it is: cannot " in line
        assert line.endswith("restart: only what the first configuration needs was kept of the rights")


def test_what_a_service_manager_receives(run, array, make_pin):
    """Ready, fed by the loop also between two cycles, reloading, not fed when stopped, stopping."""
    fd, _ = array()
    pin, name = make_pin(fd), f"\0{uuid.uuid4().hex}"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(name)
        manager.settimeout(30)

        def receive(text):
            # The others go on arriving.
            deadline = time.monotonic() + patient(30)
            while time.monotonic() < deadline:
                if manager.recv(4096).decode().startswith(text):
                    return
            pytest.fail(f"no {text}")

        environ = {"NOTIFY_SOCKET": f"@{name[1:]}", "WATCHDOG_USEC": "2000000"}
        with run(
            source(pin), interval="3600", environ=environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
        ) as sidecar:
            receive("READY=1")
            receive("STATUS=batches delivered: ")
            receive("WATCHDOG=1")
            receive("WATCHDOG=1")
            sidecar.process.send_signal(signal.SIGSTOP)
            manager.settimeout(1.5)
            with pytest.raises(TimeoutError):
                receive("nothing")
            manager.settimeout(30)
            sidecar.process.send_signal(signal.SIGCONT)
            receive("WATCHDOG=1")
            sidecar.reload(source(pin, "frames"))
            receive("RELOADING=1")
            receive("READY=1")
        receive("STOPPING=1")
