# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel top`: the rates add up to what was sent, and the terminal is restored."""

import re
import signal
import subprocess
import time

import pytest

from sidecar.kernel import xdp
from tests.kernel.frames import send
from tests.kernel.packets import TCP, UDP
from tests.kernel.user_program import COMMAND, ROOT, xdp_otel
from tests.terminal import Running
from tests.waiting import answered, patient


def rounds(output):
    """Return the rounds of the plain form: each the lines of its table, split."""
    blocks = re.split(r"^\d\d:\d\d:\d\d  per second, over ([0-9.]+) s$", output, flags=re.MULTILINE)[1:]
    return [
        (float(seconds), [line.split() for line in body.splitlines() if line and not line.startswith("pin:")])
        for seconds, body in zip(blocks[::2], blocks[1::2], strict=True)
    ]


@pytest.fixture
def start(cleanup):
    """Start the command; it ends with the test."""
    return lambda *arguments, **options: cleanup.enter_context(
        Running([*COMMAND, "top", *map(str, arguments)], **options)
    )


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
        "192.0.2.7": pytest.approx(500, rel=0.2),
        "192.0.2.8": pytest.approx(150, rel=0.2),
    }
    assert octets["192.0.2.7"] == pytest.approx(500 * 54, rel=0.2)


def test_the_highest_rate_is_first(flows, start):
    """Whatever the order of the keys."""
    running = start("--map-path", flows.map, "--interval", "1", "--iterations", "2")
    running.wait_for(b"per second")
    for at, count in ((1, 10), (2, 300), (3, 70)):
        flows.send(f"192.0.2.{at}", TCP, count)
    running.end()
    _, (_, *lines) = rounds(running.output.decode())[1]

    assert [int(line[0].rpartition(".")[2]) for line in lines] == [2, 3, 1]


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


@pytest.mark.parametrize(
    "how", ["q", "\x03", "\x1c", "escape q", signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_the_terminal_is_restored(flows, how, start):
    """`q`, Ctrl-C, Ctrl-\\ or a signal restores screen, cursor and echo, with exit code 0."""
    running = start("--map-path", flows.map, "--interval", "60", terminal=(24, 80))
    before = running.mode
    running.wait_for(b"q quit")
    assert running.mode != before
    if isinstance(how, str):
        running.press(how.replace("escape ", "\x1b[A"))

    assert running.end(None if isinstance(how, str) else how) == 0
    assert running.mode == before
    assert running.output.startswith(b"\x1b[?1049h\x1b[?25l\x1b[?7l")
    assert running.output.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")
    assert b"Traceback" not in running.output


def test_the_terminal_is_restored_while_suspended(flows, start):
    """Ctrl-Z gives the terminal back to the shell; it is taken again when the process continues."""
    running = start("--map-path", flows.map, "--interval", "60", terminal=(24, 80))
    before = running.mode
    running.wait_for(b"q quit")
    running.press("\x1a")
    running.wait_for(b"\x1b[?1049l")
    # Without a shell nothing can continue it, so the kernel does not stop it.
    answered(lambda: running.output.count(b"\x1b[?1049h") > 1 and running.mode != before)
    running.press("q")

    assert running.end() == 0
    assert running.mode == before


def test_a_terminal_that_is_gone_ends_it(flows, start):
    """As when an SSH connection breaks: no process stays behind."""
    running = start("--map-path", flows.map, "--interval", "60", terminal=(24, 80))
    running.wait_for(b"q quit")
    running.hang_up()

    assert running.process.wait(timeout=patient(30)) == 0


def test_order_and_filter(flows, start):
    """As an operator would: by key, one host only, all again."""
    for at, count in ((1, 10), (2, 300), (3, 70)):
        flows.send(f"192.0.2.{at}", TCP, count)
    running = start("--map-path", flows.map, "--interval", "0.3", terminal=(12, 80))

    def hosts():
        lines = running.screen
        return [int(found[1]) for line in lines if (found := re.match(r"192\.0\.2\.(\d+)  ", line))]

    answered(lambda: len(hosts()) == 3)
    running.press("t")
    answered(lambda: hosts() == [2, 3, 1])
    assert any(re.match(r"192\.0\.2\.2 .* 300 ", line) for line in running.screen)
    running.press("k")
    answered(lambda: hosts() == [1, 2, 3])
    running.press("/192.0.2.3")
    answered(lambda: hosts() == [3] and running.screen[-1].startswith("/192.0.2.3_"))
    assert any(line.endswith("3 keys, 1 of 3 shown") for line in running.screen)
    running.press("\r")
    answered(lambda: running.screen[-1].startswith("q quit  filter "))
    running.press("\x1b")
    answered(lambda: hosts() == [1, 2, 3])
    running.press("q")

    assert running.end() == 0


@pytest.mark.parametrize("size", [(24, 80), (10, 60), (6, 40), (3, 40), (24, 200)])
def test_the_screen_is_never_overrun(flows, start, size):
    """In lines or columns, also after the terminal has become this small or large; the rest is counted."""
    for at in range(40):
        flows.send(f"192.0.2.{at}", TCP, 1)
    running = start(
        "--map-path", flows.map, "--interval", "0.2", terminal=(30, 100), environ={"NO_COLOR": "1"}
    )
    running.wait_for(b" more")

    def lines():
        drawn = re.findall(rb"\x1b\[H(.*?)\x1b\[J", running.output, re.DOTALL)[-1]
        return drawn.replace(b"\x1b[K", b"").decode().split("\r\n")

    running.resize(*size)
    answered(lambda: len(lines()) == size[0] and max(map(len, lines())) <= size[1])
    rates = [line for line in lines() if re.search(r"\d\.\d$", line)]
    assert rates
    assert "\x1b" not in "".join(lines())


def test_a_narrow_terminal_gets_a_line_per_field(veth, start):
    """The packet counter's eight fields are wider than 80 columns; at 40 its keys are cut, not its rates."""
    xdp.attach(veth)
    running = start("--interface", veth.name, "--interval", "0.2", terminal=(24, 80))
    running.wait_for(b"ipv6_packets")

    def rows():
        return [line.split() for line in running.screen if line.startswith(veth.name[:5])]

    assert [row[1] for row in rows()] == [
        "total_packets",
        "total_bytes",
        "icmp_packets",
        "tcp_packets",
        "udp_packets",
        "other_packets",
        "ipv4_packets",
        "ipv6_packets",
    ]
    running.resize(14, 40)
    answered(lambda: running.screen[-1] == "q quit  r rate  t total  k key  / filter")
    answered(lambda: len(rows()) == 8 and all(re.fullmatch(r"[\d,]+\.\d", row[-1]) for row in rows()))
    assert any("…" in line for line in running.screen)


def test_the_last_reading_stays_on_the_terminal(flows, start):
    """With --iterations the command is over before its screen could be read."""
    running = start("--map-path", flows.map, "--interval", "0.1", "--iterations", "2", terminal=(24, 80))

    assert running.end() == 0
    _, left = running.output.decode().split("\x1b[?1049l")
    assert len(rounds(left.replace("\r", ""))) == 1


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_without_control_sequences_gets_plain_lines(flows, start, environ):
    """As in Emacs' shell or a CI job's log."""
    running = start(
        "--map-path", flows.map, "--interval", "0.2", "--iterations", "2", terminal=(24, 80), environ=environ
    )

    assert running.end() == 0
    assert len(rounds(running.output.decode().replace("\r", ""))) == 2
    assert b"\x1b" not in running.output


def test_a_replaced_map_is_followed(flows, start):
    """A reloaded program pins a new map: the bottom line says so, and its counts are in the rates."""
    flows.send("192.0.2.7", TCP, 500)
    running = start("--map-path", flows.map, "--interval", "0.3", terminal=(24, 120))
    running.wait_for(b"per second")
    flows.load_again()
    running.wait_for(b"replaced map id")
    flows.send("192.0.2.99", TCP, 3000)
    running.wait_for(b"192.0.2.99")
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
