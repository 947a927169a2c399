# SPDX-License-Identifier: Apache-2.0
"""Interfaces that a pattern chooses come, are renamed, move, go and come back while the sidecar runs."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest
from grpc import StatusCode

from sidecar.kernel import libbpf, pins, uapi, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Interface
from tests.kernel.conftest import detach_if_there
from tests.kernel.frames import send
from tests.kernel.links import ip, rename
from tests.waiting import answered, matching, patient, settled

ROOT = Path(__file__).parents[2]


class Wires:
    """Veth pairs under names with a prefix of their own: a packet sent into one end arrives at the other."""

    def __init__(self):
        self.prefix = f"x{uuid.uuid4().hex[:5]}"
        self.pattern = f"{self.prefix}*[!p]"

    def add(self, name):
        """Create `<prefix><name>`, up, with the peer `<prefix><name>p`; return its name."""
        name = f"{self.prefix}{name}"
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        for end in (name, f"{name}p"):
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
            ip("link", "set", end, "up")
        return name

    def clear(self):
        for path in Path("/sys/class/net").glob(f"{self.prefix}*p"):
            subprocess.run(["ip", "link", "del", path.name], check=False, stderr=subprocess.DEVNULL)
        for path in pins.PIN_ROOT.glob(f"{self.prefix}*"):
            xdp.detach(Interface.from_pin_name(path.name))


@pytest.fixture
def wires(bpffs):
    made = Wires()
    yield made
    made.clear()


@pytest.fixture
def namespace(cleanup):
    """A network namespace."""
    name = f"x{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    cleanup.callback(ip, "netns", "del", name)
    return name


def total(server, **attributes):
    return server.total("xdp.packets.total", **attributes)


def series(server):
    """Return the packets of each interface that has any."""
    names = {dict(at).get("network.interface.name") for (_, _, at) in list(server.windows)}
    counts = {name: total(server, **{"network.interface.name": name}) for name in names}
    return {name: count for name, count in counts.items() if count}


def is_counting(name):
    return xdp.counting_on(Interface(name))


def test_an_interface_that_appears_is_counted_within_a_second(run, wires, server):
    """Although no interface matches at the start, and the next cycle is far away."""
    with run("--interface", wires.pattern, interval="30") as sidecar:
        answered(lambda: "waiting" in sidecar.log())
        answered(lambda: "capabilities kept" in sidecar.log())
        name = wires.add("a")
        assert matching(lambda: is_counting(name), bool, 1.0, every_s=0.02), sidecar.log()
        send(Interface(name), 7)
        sidecar.terminate()
        assert sidecar.wait(patient(30)) == 0
    assert series(server) == {name: 7}


def test_one_that_goes_is_read_a_last_time_and_let_go(run, wires, server):
    """Its pins go with it; the other one goes on."""
    goes, stays = wires.add("a"), wires.add("b")
    with run("--interface", wires.pattern) as sidecar:
        answered(lambda: is_counting(goes) and is_counting(stays))
        send(Interface(goes), 5)
        ip("link", "del", goes)
        send(Interface(stays), 3)

        assert settled(lambda: series(server), {goes: 5, stays: 3}) == {goes: 5, stays: 3}
        assert settled(Interface(goes).pin_directory.exists, False) is False, sidecar.log()
        assert "stale" not in sidecar.log()


def test_one_that_is_renamed_keeps_its_name_and_another_may_take_it(run, wires, server):
    """Also through a restart, and the second of the name has its index in the series."""
    name, other = wires.add("a"), f"{wires.prefix}other"
    with run("--interface", wires.pattern):
        index = answered(lambda: is_counting(name))
        rename(name, other)
        rename(f"{name}p", f"{other}p")
        send(Interface(other), 4)
        wires.add("a")
        second = f"{name}#{socket.if_nametoindex(name)}"
        answered(lambda: is_counting(second))
        send(Interface(name), 2)
        assert settled(lambda: series(server), {name: 4, second: 2}) == {name: 4, second: 2}
    send(Interface(other), 10)
    send(Interface(name), 20)
    with run("--interface", wires.pattern) as sidecar:
        assert settled(lambda: series(server), {name: 14, second: 22}) == {name: 14, second: 22}, (
            sidecar.log()
        )
        assert is_counting(name) == index


def test_one_that_moves_to_another_network_namespace_is_gone(run, wires, server, namespace):
    """It is detached, and counts no more."""
    name = wires.add("a")
    with run("--interface", wires.pattern) as sidecar:
        answered(lambda: is_counting(name))
        send(Interface(name), 6)
        ip("link", "set", name, "netns", namespace)
        answered(lambda: "let go" in sidecar.log())
        ip("-n", namespace, "link", "set", name, "up")
        send(Interface(name), 9)

        assert total(server) == 6
        assert not Interface(name).pin_directory.exists()


def test_one_that_goes_while_nothing_is_acknowledged_is_delivered_by_the_next_process(run, wires, server):
    """After SIGKILL, and although the interface is back under the same name, or is not."""
    gone, back = wires.add("a"), wires.add("b")
    with run("--interface", wires.pattern) as sidecar:
        answered(lambda: is_counting(gone) and is_counting(back))
        answered(lambda: server.calls)
        server.will(StatusCode.UNAVAILABLE, times=1000)
        send(Interface(gone), 5)
        send(Interface(back), 3)
        ip("link", "del", gone)
        ip("link", "del", back)
        answered(lambda: sidecar.log().count("gone: ") == 2)
        sidecar.kill()
        sidecar.wait()
    server.will_be_fine()
    wires.add("b")
    with run("--interface", wires.pattern) as sidecar:
        answered(lambda: is_counting(back))
        send(Interface(back), 30)
        assert settled(lambda: series(server), {gone: 5, back: 33}) == {gone: 5, back: 33}, sidecar.log()
        answered(lambda: not Interface(gone).pin_directory.exists())


def test_one_that_comes_back_goes_on_in_its_series(run, wires, server):
    """Whether or not it was let go meanwhile."""
    name = wires.add("a")
    with run("--interface", wires.pattern, "--base-point") as sidecar:
        for round_ in range(1, 5):
            answered(lambda: is_counting(name))
            send(Interface(name), 2)
            ip("link", "del", name)
            if round_ % 2:
                answered(lambda: not Interface(name).pin_directory.exists())
            wires.add("a")
        assert settled(lambda: series(server), {name: 8}) == {name: 8}, sidecar.log()


def test_one_that_cannot_be_attached_does_not_stop_the_others(run, wires, server, cleanup):
    """It is logged once, and counted once it is free."""
    taken, free = wires.add("a"), wires.add("b")
    foreign = cleanup.enter_context(libbpf.load_packet_counter())
    link = bpf.link_create_xdp(foreign.prog_fd, socket.if_nametoindex(taken), uapi.XDP_FLAGS_SKB_MODE)
    with run("--interface", wires.pattern, "--self-metrics") as sidecar:
        answered(lambda: is_counting(free))
        send(Interface(free), 4)
        assert settled(lambda: series(server), {free: 4}) == {free: 4}
        wires.add("c")
        answered(lambda: is_counting(f"{wires.prefix}c"))
        assert sidecar.log().count("left out") == 1
        os.close(link)
        ip("link", "set", taken, "mtu", "1400")
        answered(lambda: is_counting(taken))


def test_auto_is_what_carries_a_default_route(run, wires, server, namespace, cleanup):
    """IPv4 or IPv6, from when it has one, in the namespace that --netns names."""
    by_v4, by_v6, other = (f"{wires.prefix}{name}" for name in "abc")
    for name in (by_v4, by_v6, other):
        ip("-n", namespace, "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        ip("-n", namespace, "link", "set", name, "up")
        ip("-n", namespace, "link", "set", f"{name}p", "up")
        cleanup.callback(detach_if_there, Interface(name, namespace))
    ip("-n", namespace, "route", "add", "default", "dev", by_v4)
    with run("--interface", "auto", "--netns", namespace) as sidecar:
        answered(lambda: "capabilities kept: CAP_SYS_ADMIN" in sidecar.log())
        ip("-n", namespace, "-6", "route", "add", "default", "dev", by_v6)
        answered(lambda: f"{by_v6} in native mode" in sidecar.log())
        answered(lambda: "CAP" in sidecar.log())
        assert f"attached to {by_v4}" in sidecar.log()
        assert other not in sidecar.log()


def test_commands_take_patterns(wires):
    """Attach, dump, check and detach do for each what they do for one."""

    def xdp_otel(command, *more):
        arguments = [sys.executable, "-m", "sidecar", command, "--interface", wires.pattern, *more]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout + done.stderr

    first, second, left_out = wires.add("a"), wires.add("b"), wires.add("c")
    excluded = ("--exclude-interface", f"{wires.prefix}c")

    assert "nothing that matches is counted" in xdp_otel("dump")[1]
    code, text = xdp_otel("check", "--no-endpoint", *excluded)
    assert (code, text.count("not counted yet"), left_out in text) == (0, 2, False), text
    assert xdp_otel("attach", *excluded)[0] == 0
    rename(second, f"{wires.prefix}d")
    send(Interface(first), 3)
    code, text = xdp_otel("dump", "--json", *excluded)
    assert code == 0
    assert [f'"source": "interface:{name}"' in text for name in (first, second, left_out)] == [
        True,
        True,
        False,
    ]
    assert xdp_otel("detach")[0] == 0
    assert [Interface(name).pin_directory.exists() for name in (first, second)] == [False, False]


def test_what_a_pattern_needs_of_the_rights_stays(run, wires, server):
    """The same as for a name: with these, an interface that appears later is attached."""
    with run("--interface", wires.pattern) as sidecar:
        answered(lambda: "capabilities kept: CAP_NET_ADMIN, CAP_BPF\n" in sidecar.log())
        name = wires.add("a")
        answered(lambda: is_counting(name))


def test_the_sidecars_own_metrics_count_interfaces_by_state(needs_tcx, run, wires, server, cleanup):
    """An interface counts once, whatever is counted on it; with --self-metrics they are sent, too."""
    wires.add("a")
    taken = wires.add("b")
    foreign = cleanup.enter_context(libbpf.load_packet_counter())
    link = bpf.link_create_xdp(foreign.prog_fd, socket.if_nametoindex(taken), uapi.XDP_FLAGS_SKB_MODE)
    status = ("--status-address", "127.0.0.1:0")
    with run("--interface", wires.pattern, "--direction", "both", "--self-metrics", *status) as sidecar:
        answered(lambda: any(b"xdp.otel.interfaces" in body for body in server.bodies))
        port = int(re.search(r"status at http://127.0.0.1:(\d+)", sidecar.log())[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patient(10)) as response:
            page = response.read().decode()
    os.close(link)
    assert dict(re.findall(r'xdp_xdp_otel_interfaces\{state="(\w+)"\} (\d+)', page)) == {
        "attached": "2",  # of the one that is taken, what it transmits
        "refused": "1",
        "gone": "0",
    }
