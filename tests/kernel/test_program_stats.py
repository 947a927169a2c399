# SPDX-License-Identifier: Apache-2.0
"""`--program-stats`: the kernel counts the runs of programs while the sidecar lives, and no longer."""

import os
import re
import signal
import subprocess

import pytest

from demo.bpf_commands import prog_test_run
from demo.frames import IPV4, TCP, ethernet, ipv4, tcp
from demo.ports import Ports
from demo.prometheus import fetch
from sidecar.kernel import libbpf, xdp
from sidecar.kernel import syscall as bpf
from sidecar.sources.program_stats import ProgramStats
from tests.kernel.frames import send
from tests.kernel.user_program import COMMAND, ROOT, xdp_otel
from tests.waiting import matching

FRAME = ethernet(bytes.fromhex("020000000001"), IPV4, ipv4(TCP, tcp()))


@pytest.fixture
def counter(cleanup):
    """The shipped program, loaded and attached nowhere."""
    return cleanup.enter_context(libbpf.load_packet_counter())


@pytest.fixture
def sidecar(tmp_path, cleanup):
    """Start a sidecar that serves its page; return its process and a function that fetches the page."""

    def start(*arguments):
        port = Ports.free().telemetry
        options = ("--otel-endpoint", "none", "--status-address", f"127.0.0.1:{port}", "--interval", "0.2")
        command = [*COMMAND, "--state-dir", tmp_path / "state", *options, "--program-stats", *arguments]
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.DEVNULL)
        cleanup.callback(process.wait)
        cleanup.callback(process.kill)
        page = matching(
            lambda: fetch(f"http://127.0.0.1:{port}/metrics"), lambda page: "xdp_xdp_otel_ready 1" in page
        )
        assert "xdp_xdp_otel_ready 1" in page
        return process, lambda: fetch(f"http://127.0.0.1:{port}/metrics")

    return start


def value(page, name, program):
    """Return the value of a metric of one program."""
    return int(re.search(rf'^{name}\{{.*xdp_program_id="{program}".*\}} (\d+)$', page, re.MULTILINE)[1])


def test_n_runs_grow_the_count_by_n_until_the_sidecar_is_killed(counter, make_pin, sidecar):
    """By BPF_PROG_RUN; after SIGKILL the kernel counts no more."""
    pin = make_pin(counter.map_fd)
    program = bpf.prog_info(counter.prog_fd)
    process, page = sidecar("--map-path", pin)
    before = page()
    prog_test_run(counter.prog_fd, FRAME, repeat=12_345)
    after = page()
    process.send_signal(signal.SIGKILL)
    process.wait()
    counted = bpf.prog_info(counter.prog_fd).runs
    prog_test_run(counter.prog_fd, FRAME, repeat=1000)

    assert value(before, "xdp_xdp_program_runs", program.id) == 0
    assert value(after, "xdp_xdp_program_runs", program.id) == 12_345
    assert value(after, "xdp_xdp_program_run_time", program.id) > 0
    assert f'xdp_program_name="{program.name}"' in after
    assert bpf.prog_info(counter.prog_fd).runs == counted


def test_packets_are_runs_of_the_program_on_their_interface(veth, sidecar):
    """With the interface's name; what was counted for somebody else before is left out."""
    xdp.attach(veth)
    others = bpf.enable_stats()
    send(veth, 5)
    os.close(others)
    _, page = sidecar("--interface", veth.name)
    send(veth, 21)
    line = rf'^xdp_xdp_program_runs\{{.*network_interface_name="{veth.name}"\}} 21$'

    assert re.search(line, matching(page, lambda text: re.search(line, text, re.MULTILINE)), re.MULTILINE)


def test_a_program_that_comes_later_is_counted_from_its_first_run(counter, cleanup):
    """One that uses the same map, as after an update of the program."""
    map_id = bpf.map_info(counter.map_fd).id
    stats = ProgramStats(lambda: {map_id: ""})
    cleanup.callback(stats.close)
    with libbpf.load_packet_counter(reuse_map_fd=counter.map_fd) as later:
        prog_test_run(later.prog_fd, FRAME, repeat=7)
        later_id = bpf.prog_info(later.prog_fd).id
        runs = {each.id: each.runs for each in stats.read()}

    assert runs == {bpf.prog_info(counter.prog_fd).id: 0, later_id: 7}


def test_check_tries_it_and_leaves_it_off(counter, make_pin, tmp_path):
    """With a line of its own."""
    pin = make_pin(counter.map_fd)
    said = xdp_otel(
        "check", "--program-stats", "--no-endpoint", "--map-path", pin, "--state-dir", tmp_path / "state"
    )
    prog_test_run(counter.prog_fd, FRAME, repeat=3)

    assert "ok      program statistics: can be turned on, and are off again\n" in said
    assert bpf.prog_info(counter.prog_fd).runs == 0
