# SPDX-License-Identifier: Apache-2.0
"""Standard input, output and error as others leave them: closed, unread, gone, of any encoding."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULE = (sys.executable, "-m", "sidecar")

HELD = """
import os, sys
from sidecar.kernel import standard_streams
standard_streams.prepare()
with open(sys.argv[1], "w") as file:
    held = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
    file.write(f"{file.fileno() > 2} {held}")
print("to nowhere")
print("to nowhere", file=sys.stderr)
"""

MANY_LINES = """
import logging
from sidecar.observe.log_formats import OneLine
from sidecar.observe.log_handler import LogHandler
handler = LogHandler("utf-8")
handler.setFormatter(OneLine("%(levelname)s %(message)s"))
logging.basicConfig(handlers=[handler], level=logging.INFO)
for number in range(20_000):
    logging.info("line %d %s", number, "x" * 100)
print("done", flush=True)
input()
logging.info("read again")
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_standard_stream(tmp_path, closed):
    """Otherwise the log would be written into the state directory's lock."""
    result = tmp_path / "result"
    subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", HELD, result],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )

    assert result.read_text() == "True ['/dev/null', '/dev/null', '/dev/null']"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_unread_log_blocks_nothing(is_terminal):
    """Lines that do not fit are dropped; once the log is read again, it says how many."""
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", MANY_LINES],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writer,
    ) as process:
        try:
            assert process.stdout.readline() == b"done\n"
            assert time.monotonic() - began < 10
            # O_NONBLOCK would have been set for whoever else writes there.
            assert os.get_blocking(writer)
            os.set_blocking(reader, False)
            early = everything(reader)
            process.stdin.write(b"\n")
            process.stdin.close()
            assert process.wait(10) == 0
            late = everything(reader)
        finally:
            process.kill()
    os.close(writer)
    os.close(reader)

    lines = early.splitlines()
    whole = [line for line in lines if line.endswith("x" * 100)]
    assert len(whole) > 20
    assert whole == [f"INFO line {number} {'x' * 100}" for number in range(len(whole))]
    said, again = late.splitlines()[-2:]
    lost = re.fullmatch(
        r"WARNING (\d+) log lines before this one are lost: standard error was not read", said
    )
    # A terminal may have taken all of a line but its end.
    assert int(lost[1]) - (20_000 - len(whole)) in (0, 1)
    assert again == "INFO read again"


def everything(descriptor):
    """Read what is there now."""
    found = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            return found.decode()
        if not chunk:
            return found.decode()
        found += chunk


def test_a_log_that_cannot_be_written_ends_nothing():
    """A pipe whose other end is closed, and a full disk."""
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        for stderr in (writer, full):
            done = subprocess.run(
                [sys.executable, "-c", MANY_LINES],
                cwd=ROOT,
                input=b"\n",
                stdout=subprocess.PIPE,
                stderr=stderr,
                check=False,
                timeout=30,
            )
            assert (done.returncode, done.stdout) == (0, b"done\n")
    os.close(writer)


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_characters_that_the_encoding_lacks_are_escaped(environ):
    """The help has an ellipsis, and names may contain anything."""
    environ = {"PATH": os.environ["PATH"], "PYTHONCOERCECLOCALE": "0", **environ}
    helped = subprocess.run(
        [*MODULE, "run", "--help"], cwd=ROOT, env=environ, capture_output=True, check=False
    )
    refused = subprocess.run(
        [*MODULE, "--map-id", "1", "--otel-endpoint", "é"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        check=False,
    )

    assert (helped.returncode, helped.stderr) == (0, b"")
    assert b"KEY=VALUE,\\u2026" in helped.stdout
    assert refused.returncode == 2
    assert refused.stderr.isascii()
    assert len(refused.stderr.splitlines()) == 1
