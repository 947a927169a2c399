# SPDX-License-Identifier: Apache-2.0
"""docs/using-your-program.md, followed to the letter, with programs that it does not know."""

import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections import Counter
from pathlib import Path

import pytest

from demo import stack
from demo.ports import Ports
from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.packets import TCP, UDP
from tests.kernel.user_program import ROOT, UserProgram, bpftool

PAGE = (ROOT / "docs/using-your-program.md").read_text()
# Who follows the page types these, one after the other.
COMMANDS = re.findall(r"^    ((?:xdp-otel|bpftool) .*)$", PAGE, re.MULTILINE)


class Reader(UserProgram):
    """Somebody with a program of their own, whose map is not pinned yet."""

    def __init__(self, source, map_name, interface, directory, scratch):
        self.map_name = map_name
        self.interface = interface
        self.directory = directory
        self.map = directory / map_name
        self.sent = Counter()
        directory.mkdir()
        program = directory / "prog"
        self._bpftool("prog", "load", compile_object(MAPS / source, scratch / "o"), program, "type", "xdp")
        self._bpftool("net", "attach", "xdpdrv", "pinned", program, "dev", interface.name)
        (self.map_id,) = bpftool("prog", "show", "pinned", program)["map_ids"]

    def totals(self):
        """Return each field of the map, added up over keys and CPUs, as bpftool says it."""
        sums = Counter()
        for entry in bpftool("map", "dump", "id", self.map_id):
            found = entry["formatted"]
            for value in (
                [slot["value"] for slot in found["values"]] if "values" in found else [found["value"]]
            ):
                sums.update(flat(value))
        return dict(sums)


def flat(tree, path=""):
    """Return the numbers of a value by their dotted names; anonymous structs have none."""
    found = {}
    for name, below in tree.items():
        found |= flat(below, f"{path}{name}.") if isinstance(below, dict) else {f"{path}{name}": below}
    return found


@pytest.fixture(params=[("flows.bpf.c", "flows"), ("ports.bpf.c", "udp_ports")], ids=lambda one: one[1])
def reader(request, veth, bpffs, tmp_path, cleanup):
    directory = bpffs / f"test-{uuid.uuid4().hex[:12]}"
    reader = Reader(*request.param, veth, directory, tmp_path)
    cleanup.callback(reader.close)
    return reader


@pytest.fixture
def ports(tmp_path, cleanup):
    """The ports of a real Collector."""
    free = Ports.free()
    cleanup.enter_context(stack.collector(tmp_path, free))
    return free


@pytest.fixture
def follow(reader, tmp_path, ports):
    """Type a line of the page, with one's own names; return what it prints."""

    def type_in(line):
        line = line.replace("/sys/fs/bpf/flows", str(reader.map)).replace("id 30", f"id {reader.map_id}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=tmp_path,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports.otlp}",
                "XDP_OTEL_STATE_DIR": str(tmp_path / "state"),
                "XDP_OTEL_BASE_POINT": "true",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    return type_in


def exposed(ports, name):
    """Return the sum of a metric over all its series at the Collector."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(number) for number in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def test_the_page_leads_from_a_map_to_the_collector(reader, follow, ports):
    """Its commands in their order; at the end the Collector has bpftool's counts, field by field."""
    assert [line.split()[1] for line in COMMANDS] == [
        *("discover", "map", "discover", "check", "dump", "top", "--config", "discover")
    ]
    for at in range(1, 6):
        reader.send(f"192.0.2.{at}", UDP, 10 * at, bytes(30 * at))
        reader.send(f"192.0.2.{at}", TCP, at)
    found, _, _, checked, dumped, rates, _, _ = [
        follow(f"{line} --once" if line == "xdp-otel --config flows.yaml" else line) for line in COMMANDS
    ]
    totals = reader.totals()

    assert f"bpftool map pin id {reader.map_id} /sys/fs/bpf/{reader.map_name}" in found
    assert checked.splitlines()[-1] == "OK"
    assert f"map {reader.map_name}, id {reader.map_id}, " in dumped.splitlines()[0]
    assert len(re.findall("per second", rates)) == 3
    assert totals
    for field, count in totals.items():
        name = f"xdp_{reader.map_name}_{field}".replace(".", "_")
        deadline = time.monotonic() + 10
        while exposed(ports, name) != count and time.monotonic() < deadline:
            time.sleep(0.1)
        assert exposed(ports, name) == count, name


def test_with_a_layout_the_service_needs_no_cap_sys_admin(reader, follow):
    """The last command's file works where BTF is hidden; the other is refused with the missing capability."""
    reader.send("192.0.2.1", UDP, 12)
    pin, plain, with_layout = (COMMANDS[at] for at in (1, 2, -1))
    for line in (pin, with_layout):
        follow(line)
    less = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin"

    assert follow(f"{less} xdp-otel check --config flows.yaml").splitlines()[-1] == "OK"
    follow(plain)
    refused = follow(f"! {less} xdp-otel check --config flows.yaml --no-endpoint 2>&1")
    assert "CAP_SYS_ADMIN" in refused
    assert "layout" in refused
