# SPDX-License-Identifier: Apache-2.0
"""README.md: the first hour, typed line by line, and the facts it states."""

import json

import pytest

import sidecar
from tests.docs.document import ROOT, commands
from tests.kernel.packets import IPV4, UDP, ethernet, ipv4, udp

FRAME = ethernet(IPV4, ipv4(UDP, udp(bytes(30))))


def test_the_first_hour(machine):
    """From `make install` to `make clean`; each counter appears, and nothing stays behind."""
    lines = commands("README.md", until="Install it")
    printed = {}
    for line in lines:
        # The first cycle counts from when the program was attached.
        if line.startswith("curl"):
            machine.send(FRAME, 5)
        printed[line] = machine.type(line)

    shown = [text for line, text in printed.items() if "grep" in line]
    assert len(shown) == 2
    assert all('network_interface_name="eth0"' in text for text in shown)
    (answer,) = (json.loads(text) for line, text in printed.items() if "query" in line)
    assert answer["status"] == "success"
    assert "xdp" not in machine.type("ip link show eth0")
    assert machine.type("ls /sys/fs/bpf/xdp-otel") == ""
    assert not (machine.clone / ".venv").exists()


def test_clean_warns_while_the_program_is_attached(machine):
    """Counting goes on without the command that would end it, so the warning says how to get it back."""
    machine.type(".venv/bin/xdp-otel attach --interface eth0")
    warning = machine.type("make clean 2>&1")

    assert "warning: eth0 still carries the XDP program" in warning
    assert "make install && sudo .venv/bin/xdp-otel detach --interface eth0" in warning


def test_the_version_is_the_packages():
    """The first paragraph names it."""
    assert f"Version {sidecar.__version__}." in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("XDP program, TCP/IPv4, over an empty one", "{:.0f} ns per packet"),
        ("memory of the sidecar", "{:.0f} MiB of memory"),
        ("default map: whole cycle with its durable write", "{:.0f} ms of CPU time per cycle"),
    ],
)
def test_the_costs_are_those_of_the_benchmark(row, text):
    """What the first table states is in bench/results.json, rounded."""
    rows = json.loads((ROOT / "bench/results.json").read_text())["rows"]
    measured = next(one for one in rows if one["name"] == row)

    assert text.format(measured["value"]) in (ROOT / "README.md").read_text()
