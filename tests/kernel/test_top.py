# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel top`: the rates add up to what was sent, and the terminal is restored."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from sidecar.kernel import xdp
from tests.kernel.frames import send
from tests.kernel.packets import TCP, UDP
from tests.kernel.user_program import COMMAND, ROOT, xdp_otel


def rounds(output):
    """Return the rounds of the plain form: each the lines of its table, split."""
    blocks = re.split(r"^\d\d:\d\d:\d\d  per second, over ([0-9.]+) s$", output, flags=re.MULTILINE)[1:]
    return [
        (float(seconds), [line.split() for line in body.splitlines() if line and not line.startswith("pin:")])
        for seconds, body in zip(blocks[::2], blocks[1::2], strict=True)
    ]


class Running:
    """The command on a terminal, or into a pipe."""

    def __init__(self, *arguments, terminal=None, environ=None):
        self.output = b""
        self._reader, writer = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, "top", *map(str, arguments)],
            cwd=ROOT,
            stdin=writer if terminal else subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **(environ or {})},
            start_new_session=True,
        )
        os.close(writer)
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self):
        while True:
            try:
                chunk = os.read(self._reader, 65536)
            except OSError:  # a terminal that nobody has open any more
                return
            if not chunk:
                return
            self.output += chunk

    def wait_for(self, text, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while text not in self.output and time.monotonic() < deadline:
            time.sleep(0.02)
        assert text in self.output, self.output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._thread.join()
        os.close(self._reader)

    def end(self, number=None):
        if number:
            self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self._thread.join()
        return code


@pytest.fixture
def start(cleanup):
    """Start the command; it ends with the test."""
    return lambda *arguments, **options: cleanup.enter_context(Running(*arguments, **options))


def test_the_rates_of_all_rounds_add_up_to_what_was_sent(flows, start):
    """Per key and field, each round's rate times its duration."""
    running = start("--map-path", flows.map, "--interval", "0.5", "--iterations", "4")
    running.wait_for(b"per second")
    for _ in range(5):
        flows.send("192.0.2.7", TCP, 100)
        flows.send("192.0.2.8", UDP, 30, b"payload")
        time.sleep(0.1)
    assert running.end() == 0

    packets, octets = {}, {}
    for seconds, (_, *lines) in rounds(running.output.decode()):
        for saddr, _, *numbers in lines:
            rates = [float(number.replace(",", "")) for number in numbers]
            packets[saddr] = packets.get(saddr, 0) + rates[0] * seconds
            octets[saddr] = octets.get(saddr, 0) + rates[1] * seconds
    # Times are printed to 0.1 s, of 0.5: 20 %.
    assert packets == {
        str(0xC0000207): pytest.approx(500, rel=0.2),
        str(0xC0000208): pytest.approx(150, rel=0.2),
    }
    assert octets[str(0xC0000207)] == pytest.approx(500 * 54, rel=0.2)


def test_the_highest_rate_is_first(flows, start):
    """Whatever the order of the keys."""
    running = start("--map-path", flows.map, "--interval", "1", "--iterations", "2")
    running.wait_for(b"per second")
    for at, count in ((1, 10), (2, 300), (3, 70)):
        flows.send(f"192.0.2.{at}", TCP, count)
    running.end()
    _, (_, *lines) = rounds(running.output.decode())[1]

    assert [int(line[0]) & 0xFF for line in lines] == [2, 3, 1]


def test_an_interface_is_shown_by_protocol(veth, start):
    """The packet counter's fields, with the interface's name, in one line of the plain form."""
    xdp.attach(veth)
    running = start("--interface", veth.name, "--interval", "0.5", "--iterations", "3")
    running.wait_for(b"per second")
    send(veth, 200)
    running.end()
    lines = [
        line.split()
        for line in running.output.decode().splitlines()
        if line.startswith(("network", veth.name))
    ]
    rates = [dict(zip(lines[0], line, strict=True)) for line in lines[1::2]]

    assert {rate["network.interface.name"] for rate in rates} == {veth.name}
    assert any(float(rate["other_packets"].replace(",", "")) > 0 for rate in rates)
    assert {rate["tcp_packets"] for rate in rates} == {"0.0"}
    assert [rate["total_packets"] for rate in rates] == [rate["other_packets"] for rate in rates]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_restored(flows, number, start):
    """Ctrl-C or SIGTERM restores the screen and its cursor, with exit code 0."""
    running = start("--map-path", flows.map, "--interval", "0.2", terminal=(24, 80))
    running.wait_for(b"per second")
    code = running.end(number)

    assert code == 0
    assert running.output.startswith(b"\x1b[?1049h\x1b[?25l")
    assert running.output.endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"Traceback" not in running.output


def test_the_screen_is_never_overrun(flows, start):
    """In lines or columns: the rest is counted."""
    for at in range(40):
        flows.send(f"192.0.2.{at}", TCP, 1)
    running = start(
        "--map-path", flows.map, "--interval", "0.2", terminal=(10, 60), environ={"NO_COLOR": "1"}
    )
    running.wait_for(b"more")
    running.end(signal.SIGINT)
    drawn = re.findall(rb"\x1b\[H(.*?)\x1b\[J", running.output, re.DOTALL)

    assert drawn
    for screen in drawn:
        lines = screen.replace(b"\x1b[K", b"").split(b"\r\n")
        assert len(lines) <= 10
        assert max(map(len, lines)) <= 60
        assert b"\x1b" not in b"".join(lines)
        assert re.fullmatch(rb".* and 3\d more", lines[-1])


def test_a_narrow_terminal_gets_a_line_per_field(veth, start):
    """The packet counter's eight fields are wider than 80 columns."""
    xdp.attach(veth)
    running = start("--interface", veth.name, "--interval", "0.2", terminal=(24, 80))
    running.wait_for(b"ipv6_packets")
    running.end(signal.SIGINT)
    screen = re.findall(rb"\x1b\[H(.*?)\x1b\[J", running.output, re.DOTALL)[0].decode()
    rows = [line.split() for line in screen.replace("\x1b[K", "").splitlines() if line.startswith(veth.name)]

    assert [row[1] for row in rows] == [
        "total_packets",
        "total_bytes",
        "icmp_packets",
        "tcp_packets",
        "udp_packets",
        "other_packets",
        "ipv4_packets",
        "ipv6_packets",
    ]


def test_a_replaced_map_is_followed(flows, start):
    """A reloaded program pins a new map: the bottom line says so, and its counts are in the rates."""
    flows.send("192.0.2.7", TCP, 500)
    running = start("--map-path", flows.map, "--interval", "0.3", terminal=(24, 120))
    running.wait_for(b"per second")
    flows.load_again()
    running.wait_for(b"replaced map id")
    flows.send("192.0.2.99", TCP, 3000)
    running.wait_for(str(0xC0000263).encode())
    running.end(signal.SIGINT)

    assert not re.search(rb" -[0-9]", running.output)


def test_an_unreadable_map_is_a_one_line_error():
    """Before anything is drawn."""
    assert "open map pinned at /sys/fs/bpf/nosuchpin: ENOENT" in xdp_otel(
        "top", "--map-path", "/sys/fs/bpf/nosuchpin", code=3
    )


def test_a_reader_that_stops_early_ends_it(flows):
    """`xdp-otel top | head -1`."""
    script = '"$@" | head -1; echo "${PIPESTATUS[0]}"'
    command = [*COMMAND, "top", "--interval", "0.1", "--map-path", flows.map]
    done = subprocess.run(
        ["bash", "-c", script, "-", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"\d\d:\d\d:\d\d  per second, over 0\.\d s\n141\n", done.stdout)
    assert done.stderr == ""
