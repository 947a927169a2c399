# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: from a terminal that is closed it ends the process after a last cycle; otherwise it reloads."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.bpf_commands import map_update
from sidecar.kernel import uapi
from tests.packet_counter import FIELDS
from tests.waiting import answered, patient, settled

ROOT = Path(__file__).parents[2]
CHILD = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.close(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def counting(make_map, make_pin):
    """A map as the shipped program's; `count` sets what it holds."""
    fd = make_map(uapi.MAP_ARRAY)

    def count(packets):
        values = [packets] * len(FIELDS)
        map_update(fd, bytes(4), b"".join(value.to_bytes(8, sys.byteorder) for value in values))

    return make_pin(fd), count


@pytest.fixture
def terminal():
    """A pseudo-terminal: the side that a terminal program holds, and the other one."""
    ours, theirs = pty.openpty()
    closed = []

    def close():
        if not closed:
            closed.append(os.close(ours))

    yield close, theirs
    close()
    os.close(theirs)


@pytest.fixture
def run(tmp_path, server, counting):
    """Run the sidecar in the terminal with a long interval, from its first cycle on."""

    @contextmanager
    def running(theirs, *prefix):
        log = tmp_path / "sidecar.log"
        command = ["-m", "sidecar", "run", "--map-path", counting[0], "--interval", "3600"]
        command += ["--profile", "packet-counter", "--state-dir", tmp_path / "state"]
        command += ["--otel-endpoint", f"127.0.0.1:{server.port}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(theirs), *prefix, *command],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stderr=output,
                pass_fds=[theirs],
            )
        try:
            answered(lambda: server.total("xdp.packets.total") == 3)
            yield process, log
        finally:
            process.kill()
            process.wait()

    return running


def test_a_closed_terminal_ends_the_process_after_a_last_cycle(run, server, counting, terminal):
    """What was counted since the last cycle is delivered, and the process exits as after SIGTERM."""
    counting[1](3)
    close, theirs = terminal
    with run(theirs, sys.executable) as (process, log):
        counting[1](10)
        close()

        assert process.wait(patient(30)) == 0, log.read_text()
        assert server.total("xdp.packets.total") == 10


def test_with_its_terminal_the_process_reloads(run, server, counting, terminal):
    """Without a configuration file there is nothing to change, and it goes on."""
    counting[1](3)
    _, theirs = terminal
    with run(theirs, sys.executable) as (process, log):
        process.send_signal(signal.SIGHUP)

        answered(lambda: "reload: the configuration has not changed" in log.read_text())
        process.terminate()
        assert process.wait(patient(30)) == 0, log.read_text()


def test_nohup_survives_a_closed_terminal(run, server, counting, terminal):
    """And the signal still reloads."""
    counting[1](3)
    close, theirs = terminal
    with run(theirs, "/usr/bin/nohup", sys.executable) as (process, log):
        close()
        process.send_signal(signal.SIGHUP)

        assert settled(lambda: "has not changed" in log.read_text(), expected=True), log.read_text()
        counting[1](10)
        process.terminate()
        assert process.wait(patient(30)) == 0, log.read_text()
        assert server.total("xdp.packets.total") == 10
