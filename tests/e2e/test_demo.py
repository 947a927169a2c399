# SPDX-License-Identifier: Apache-2.0
"""The demo as users run it: its output, its exit code, and that it leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from demo import prometheus, stack
from demo.namespaces import CLIENT_INTERFACE, NODE_INTERFACE
from demo.ports import Ports
from demo.processes import ROOT, run
from scale.counts import Counter
from tests.waiting import answered

# Sends frames that a tap on the interface does not see: PACKET_QDISC_BYPASS (20) hands them to the driver.
SEND_UNSEEN = """
import socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sender.setsockopt(263, 20, 1)
sender.bind((sys.argv[1], 0))
for _ in range(3):
    sender.send(bytes(12) + b"\\x88\\xb5" + bytes(46))
"""


@dataclass
class Demo:
    """A `python -m demo` with its own ports and temporary directory."""

    directory: Path
    arguments: tuple[str, ...] = ()
    keep: bool = False
    ports: Ports = field(default_factory=Ports.free)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def environment(self) -> dict[str, str]:
        """Return its environment, with a mark that identifies its processes."""
        ports = {f"DEMO_{name.upper()}_PORT": str(port) for name, port in asdict(self.ports).items()}
        keep = {"KEEP": "1"} if self.keep else {}
        return {**os.environ, **ports, **keep, "TMPDIR": str(self.directory), "DEMO_MARK": self.mark}

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Start it; kill it at the end if it still runs."""
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", *self.arguments],
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def leftovers(self, pid: int) -> list[Path]:
        """Return what remains of the demo with process id *pid*: processes, namespaces, pins, files."""
        places = (Path("/run/netns"), stack.pins("any").parent)
        named = [path for place in places for path in place.glob(f"xdp-demo-{pid}-*")]
        return [*self.processes(), *named, *self.directory.iterdir()]

    def processes(self) -> list[Path]:
        """Return the directory in /proc of each of its processes."""
        return [path.parent for path in Path("/proc").glob("[0-9]*/environ") if self.mark in content(path)]


def content(file: Path) -> str:
    """Return the content of a file in /proc, empty if its process has just ended."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return the output of *process* up to the line that contains *text*."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if text in line:
            return printed
    pytest.fail(f"ended without {text!r}:\n{printed}")


def test_all_agree(tmp_path: Path) -> None:
    """The demo exits 0 within a minute, all counters agree in both directions, and nothing is left behind."""
    demo = Demo(tmp_path)

    with demo.running() as process:
        printed, _ = process.communicate(timeout=60)

    assert process.returncode == 0, printed
    verdicts = [
        line.split() for line in printed.splitlines() if line.startswith("xdp_xdp_") and "(" not in line
    ]
    assert 2 * [(name, "agree") for name in prometheus.METRICS.values()] == [
        (line[0], line[-1]) for line in verdicts
    ]
    assert "\nnode0 receives\n" in printed
    assert "\nclient0 transmits\n" in printed
    assert all(line[1] == line[2] == line[3] != "0" for line in verdicts)
    assert printed.splitlines()[-1].startswith(f"All agree: {verdicts[0][1]} packets, {verdicts[1][1]} bytes")
    assert "\033" not in printed
    assert demo.leftovers(process.pid) == []


def test_unseen_frames_are_a_difference(tmp_path: Path) -> None:
    """Three frames that the kernel counts and the tap misses make the demo fail and name the counters."""
    demo = Demo(tmp_path)

    with demo.running() as process:
        send_unseen(namespace=f"xdp-demo-{process.pid}-client")
        printed, _ = process.communicate(timeout=90)

    assert process.returncode == 1, printed
    last = printed.splitlines()[-1]
    assert last.startswith("NOT all agree")
    assert "xdp_xdp_packets_total, xdp_xdp_bytes_total, xdp_xdp_packets_other: " in last
    rows = [line.split() for line in printed.splitlines() if line.endswith("DIFFER")]
    assert [int(row[2].replace(",", "")) - int(row[1].replace(",", "")) for row in rows] == [3, 3 * 60, 3]
    assert [row[2] for row in rows] == [row[3] for row in rows]
    assert demo.leftovers(process.pid) == []


def send_unseen(namespace: str, interface: str = CLIENT_INTERFACE) -> None:
    """Send frames that bypass a tap on *interface*, as soon as its link is up."""
    deadline = time.monotonic() + 60
    command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-c", SEND_UNSEEN, interface]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def packets(demo: Demo) -> int:
    """Return the packets that Prometheus shows, 0 without a sample."""
    return prometheus.counters(demo.ports, NODE_INTERFACE)["total_packets"] or 0


def test_keep_stays_up_until_interrupted(tmp_path: Path) -> None:
    """KEEP=1 leaves the stack running under traffic; Ctrl-C ends it with the exit code of the comparison."""
    demo = Demo(tmp_path, keep=True)

    with demo.running() as process:
        printed = read_until(process, "Ctrl-C")
        before = answered(lambda: packets(demo))
        answered(lambda: packets(demo) > before)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)

    assert f":{demo.ports.otlp} " in printed
    assert f":{demo.ports.metrics}/metrics" in printed
    assert f":{demo.ports.prometheus}\n" in printed
    assert process.returncode == 0
    assert demo.leftovers(process.pid) == []


def test_a_part_that_dies_is_named(tmp_path: Path) -> None:
    """If the Collector dies, the demo prints the end of its log and cleans up."""
    demo = Demo(tmp_path, keep=True)

    with demo.running() as process:
        read_until(process, "Ctrl-C")
        (collector,) = (path for path in demo.processes() if "otelcol-xdp" in content(path / "cmdline"))
        os.kill(int(collector.name), signal.SIGKILL)
        printed, _ = process.communicate(timeout=90)

    assert process.returncode == 1
    assert "\ndemo: cannot run the Collector: exit -9: its log ends\n    " in printed
    assert demo.leftovers(process.pid) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_startup_cleans_up(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Interrupted while the stack starts, the demo still removes everything."""
    demo = Demo(tmp_path)

    with demo.running() as process:
        read_until(process, "Start the Collector")
        process.send_signal(number)
        printed, _ = process.communicate(timeout=90)

    assert code == process.returncode, printed
    assert demo.leftovers(process.pid) == []


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    """One line names the port and the variable to choose another; nothing starts."""
    demo = Demo(tmp_path)

    with socket.create_server(("127.0.0.1", demo.ports.prometheus)), demo.running() as process:
        printed, _ = process.communicate(timeout=90)

    assert process.returncode == 1
    assert printed.startswith(
        f"demo: cannot listen on port {demo.ports.prometheus}: Address already in use: stop "
    )
    assert printed.endswith("or use another: DEMO_PROMETHEUS_PORT=PORT\n")
    assert printed.count("\n") == 1


@pytest.fixture
def host_interface() -> Iterator[str]:
    """Return a host interface whose peer, `peer0`, is in a namespace of the same name; both are up."""
    name = f"xd{os.getpid()}"
    with ExitStack() as cleanup:
        run("ip", "netns", "add", name)
        cleanup.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "peer0", "netns", name)
        for where in (("-n", name), ()):
            run("ip", *where, "link", "set", "peer0" if where else name, "up")
        yield name


def test_real_interface(tmp_path: Path, host_interface: str) -> None:
    """With --interface the stack counts until Ctrl-C and then detaches its program."""
    demo = Demo(tmp_path, arguments=("--interface", host_interface))

    with demo.running() as process:
        read_until(process, "Ctrl-C")
        send_unseen(namespace=host_interface, interface="peer0")
        answered(lambda: prometheus.counters(demo.ports, host_interface)["other_packets"])
        # The line with the counts, printed every few seconds.
        read_until(process, f"{host_interface}: ")
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=90)

    assert process.returncode == 0, printed
    assert not stack.pins(host_interface).exists()
    assert "xdp" not in run("ip", "link", "show", host_interface)
    assert demo.leftovers(process.pid) == []


def test_the_stack_alone_waits_for_a_sidecar(tmp_path: Path, counter: Counter) -> None:
    """With --stack it prints the command of a sidecar; that command, with a pin, fills Prometheus."""
    demo = Demo(tmp_path, arguments=("--stack",))

    with demo.running() as process:
        printed = read_until(process, "--base-point")
        read_until(process, "nothing in Prometheus yet")
        command = printed.splitlines()[-1].replace("sudo ", "").replace("PIN", str(counter.pin)).split()
        subprocess.run([*command, "--once", f"--state-dir={tmp_path / 'state'}"], cwd=ROOT, check=True)
        read_until(process, "in Prometheus: 9 series from 1 sidecar")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)

    assert process.returncode == 0
    assert demo.leftovers(process.pid) == [tmp_path / "state"]


def test_a_map_of_ones_own(tmp_path: Path, counter: Counter) -> None:
    """With --map the stack reads the map pinned there until Ctrl-C."""
    demo = Demo(tmp_path, arguments=("--map", str(counter.pin)))

    with demo.running() as process:
        read_until(process, " from 1 sidecar")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)

    assert process.returncode == 0
    assert counter.pin.exists()
    assert demo.leftovers(process.pid) == []


def test_sources_in_a_file(tmp_path: Path, host_interface: str) -> None:
    """With --config it reads what the file names, and detaches what was attached for it."""
    config = tmp_path / "sources.yaml"
    config.write_text(f"sources: [{{interface: {host_interface}}}]")
    demo = Demo(tmp_path, arguments=("--config", str(config)))

    with demo.running() as process:
        read_until(process, " from 1 sidecar")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)

    assert process.returncode == 0
    assert not stack.is_attached(host_interface)
    assert demo.leftovers(process.pid) == [config]


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The sidecar's own message, before anything starts."""
    config = tmp_path / "sources.yaml"
    config.write_text("sources: []")
    demo = Demo(tmp_path, arguments=("--config", str(config)))

    with demo.running() as process:
        printed, _ = process.communicate(timeout=90)

    assert process.returncode == 1
    assert f"demo: {config}:1: " in printed
    assert "Start" not in printed


def test_a_program_attached_before_stays(tmp_path: Path, host_interface: str) -> None:
    """A program already on the interface is used and stays attached when the stack ends."""
    run(str(stack.SIDECAR), "attach", "--interface", host_interface)
    try:
        demo = Demo(tmp_path, arguments=("--interface", host_interface))
        with demo.running() as process:
            read_until(process, "Ctrl-C")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=90)

        assert stack.is_attached(host_interface)
    finally:
        stack.detach(host_interface)
