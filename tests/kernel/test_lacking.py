# SPDX-License-Identifier: Apache-2.0
"""Environments that lack something: /proc, /dev, room for files, a reader of the log."""

import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from sidecar.kernel import uapi
from tests.kernel.user_program import ROOT
from tests.waiting import patient

COMMAND = (sys.executable, "-m", "sidecar")
LINE = re.compile(r"([0-9-]+ [0-9:,]+ )?ERROR (.+: .+: .+)\n")


@pytest.fixture
def pin(make_map, make_pin):
    """A map that may be the packet counter's."""
    return make_pin(make_map(uapi.MAP_PERCPU_ARRAY))


@pytest.fixture
def without():
    """Run a command in a mount namespace where an empty directory covers another one."""

    def call(covered, *arguments):
        script = f'mount -t tmpfs none {covered} && exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", script, "sh", *COMMAND, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(60),
        )

    return call


def error_of(done):
    """The one line, the last of the log; no traceback."""
    assert "Traceback" not in done.stderr
    return LINE.fullmatch(done.stderr.splitlines(keepends=True)[-1])[2]


@pytest.mark.parametrize("command", ["dump", "run", "check"])
def test_without_proc_no_map_is_read(without, pin, tmp_path, command):
    """The kind of the pinned object cannot be determined."""
    place = ("--map-path", pin, *(("--state-dir", tmp_path) if command != "dump" else ()))
    done = without("/proc", command, *place)

    assert done.returncode == 5
    assert error_of(done) == (
        f"cannot open map pinned at {pin}: cannot tell its kind from /proc: "
        "ENOENT (No such file or directory): mount proc at /proc"
    )


def test_without_proc_nothing_is_discovered(without, bpffs):
    """/proc lists where bpffs is mounted."""
    done = without("/proc", "discover")

    assert (done.returncode, error_of(done).split(": ")[0]) == (5, "cannot open /proc/self/mountinfo")


def test_a_mount_whose_path_is_not_utf_8_hides_nothing(tmp_path, pin):
    """It may be any mount of the machine."""
    odd = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(odd)
    script = 'mount -t tmpfs none "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script, "sh", odd, *COMMAND, "discover", "--all", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, str(pin) in done.stdout) == (0, True), done.stderr


def test_without_dev_the_process_does_not_abort(without, pin, tmp_path):
    """As gRPC would; commands that do not export work."""
    done = without("/dev", "run", "--once", "--map-path", pin, "--state-dir", tmp_path)

    assert (done.returncode, error_of(done).split(": ")[0]) == (5, "cannot open /dev/urandom")
    assert without("/dev", "dump", "--map-path", pin).returncode == 0


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_file_size_limit_is_a_one_line_error(pin, tmp_path, blocks):
    """SIGXFSZ would end the process without a message."""
    options = ("--once", "--map-path", str(pin), "--state-dir", str(tmp_path / "state"))
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *COMMAND, *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 6
    assert "EFBIG (File too large)" in error_of(done)


@pytest.fixture
def service(pin, tmp_path, cleanup):
    """Start a sidecar, in a mount namespace of its own, that has a cycle each 0.1 s."""

    def start(stderr):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [
                *("unshare", "--mount", *COMMAND, "run", "--interval", "0.1", "--map-path", str(pin)),
                *("--otel-endpoint", "none", "--state-dir", str(tmp_path / "state")),
                *("--status-address", f"127.0.0.1:{port}", "--debug"),
            ],
            cwd=ROOT,
            stderr=stderr,
        )
        cleanup.callback(process.wait)
        cleanup.callback(process.kill)
        return process, port

    return start


def cycles(port):
    """How many times the map was read; 0 if nobody answers yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patient(5)) as answer:
            text = answer.read().decode()
    except OSError:
        return 0
    return int(re.search(r'xdp_xdp_otel_stage_runs\{stage="read"\} (\d+)', text)[1])


def until_read(port, more):
    """Wait until the map was read so many times more."""
    goal = cycles(port) + more
    deadline = time.monotonic() + patient(60)
    while cycles(port) < goal:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ended(process):
    """Stop it; return its code and how long that took."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(patient(30)), time.monotonic() - began


def test_a_service_survives_the_loss_of_proc(service, tmp_path):
    """It keeps counting, serves its metrics, and ends as usual."""
    with (tmp_path / "log").open("wb") as log:
        process, port = service(log)
    until_read(port, 1)
    subprocess.run(
        ["nsenter", f"--target={process.pid}", "--mount", "mount", "-t", "tmpfs", "none", "/proc"], check=True
    )
    until_read(port, 5)

    code, _ = ended(process)
    text = (tmp_path / "log").read_text()
    assert (code, "Traceback" in text) == (0, False), text


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_unread_log_stops_neither_cycles_nor_sigterm(service, is_terminal):
    """A full pipe, or a full terminal."""
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    if not is_terminal:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        process, port = service(writer)
        until_read(port, 150 if is_terminal else 60)
        code, seconds = ended(process)
    finally:
        os.close(reader)
        os.close(writer)

    assert code == 0
    assert seconds < patient(5)


def test_a_log_without_a_reader_stops_nothing(service):
    """Each line fails with EPIPE."""
    reader, writer = os.pipe()
    process, port = service(writer)
    os.close(writer)
    until_read(port, 1)
    os.close(reader)
    until_read(port, 5)

    assert ended(process)[0] == 0
