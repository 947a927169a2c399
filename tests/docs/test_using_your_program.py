# SPDX-License-Identifier: Apache-2.0
"""docs/using-your-program.md, typed line by line, for programs that it does not know."""

import json
import re
import time
from collections import Counter

import pytest

from demo.ports import Ports
from demo.prometheus import fetch
from tests.docs.document import commands
from tests.docs.machine import INTERFACE
from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.packets import IPV4, TCP, UDP, ethernet, ipv4, tcp, udp

PAGE = "docs/using-your-program.md"


class Reader:
    """Someone with a program on eth0 whose map is not pinned."""

    def __init__(self, machine, source, map_name, scratch):
        self._machine = machine
        self._map_name = map_name
        program = compile_object(MAPS / source, scratch / "program.o")
        machine.type(f"bpftool prog load {program} /sys/fs/bpf/program type xdp")
        machine.type(f"bpftool net attach xdpdrv pinned /sys/fs/bpf/program dev {INTERFACE}")
        shown = json.loads(machine.type("bpftool -j prog show pinned /sys/fs/bpf/program"))
        (self._map_id,) = shown["map_ids"]

    def type(self, line):
        """Type a line of the page, with the name of one's own map; other maps may have that name too."""
        line = line.replace("pin name flows", f"pin id {self._map_id}")
        return self._machine.type(re.sub(r"(?<![a-z])flows(?![a-z]|\.yaml)", self._map_name, line))

    def receive(self):
        """Make eth0 receive packets of five senders."""
        for at in range(1, 6):
            for protocol, packet, count in ((UDP, udp(bytes(30 * at)), 10 * at), (TCP, tcp(b""), at)):
                header = ipv4(protocol, packet)
                sender = bytes((192, 0, 2, at))
                self._machine.send(ethernet(IPV4, header[:12] + sender + header[16:]), count)

    def totals(self):
        """Return each field of the map, added up over keys and CPUs, as bpftool reads it."""
        sums = Counter()
        for entry in json.loads(self._machine.type(f"bpftool -j map dump id {self._map_id}")):
            found = entry["formatted"]
            values = [slot["value"] for slot in found["values"]] if "values" in found else [found["value"]]
            for value in values:
                sums.update(flat(value))
        return dict(sums)

    def exposed(self, name):
        """Return the sum of a metric over all its series at the Collector."""
        with self._machine.inside():
            text = fetch(f"http://127.0.0.1:{Ports.metrics}/metrics")
        return sum(float(number) for number in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def flat(tree, path=""):
    """Return the numbers of a value by their dotted names; anonymous structs have none."""
    found = {}
    for name, below in tree.items():
        found |= flat(below, f"{path}{name}.") if isinstance(below, dict) else {f"{path}{name}": below}
    return found


@pytest.fixture(params=[("flows.bpf.c", "flows"), ("ports.bpf.c", "udp_ports")], ids=lambda one: one[1])
def reader(request, machine, tmp_path):
    source, map_name = request.param
    return Reader(machine, source, map_name, tmp_path)


def test_the_page_leads_from_a_map_to_prometheus(reader):
    """Each command in its order; then the Collector has bpftool's counts, field by field."""
    lines = commands(PAGE)
    reader.receive()
    field = next(iter(reader.totals()))
    runs = lines.index("xdp-otel --config flows.yaml --base-point")
    printed = {
        line: reader.type(line.replace("flows_packets", f"flows_{field}")) for line in lines[: runs + 3]
    }

    (checked,) = (printed[line] for line in lines if line.startswith("xdp-otel check"))
    (rates,) = (printed[line] for line in lines if line.startswith("xdp-otel top"))
    assert checked.splitlines()[-1] == "OK"
    assert len(re.findall("per second", rates)) == 3
    for field, count in reader.totals().items():
        name = f"xdp_{reader._map_name}_{field}".replace(".", "_")
        deadline = time.monotonic() + 20
        while (shown := reader.exposed(name)) != count and time.monotonic() < deadline:
            time.sleep(0.2)
        assert shown == count, name
    for line in lines[runs + 3 :]:
        reader.type(line)


def test_with_a_layout_the_service_needs_no_cap_sys_admin(reader, machine):
    """The last command's file works where BTF is hidden; the other is refused with the missing capability."""
    lines = commands(PAGE)
    reader.receive()
    reader.type("export PATH=$PWD/.venv/bin:$PATH")
    (pin,) = (line for line in lines if line.startswith("bpftool map pin"))
    plain, with_layout = (line for line in lines if "--write-config" in line)
    for line in (pin, with_layout):
        reader.type(line)
    less = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin"
    check = f"{less} xdp-otel check --no-endpoint --config flows.yaml"

    assert reader.type(check).splitlines()[-1] == "OK"
    reader.type(plain)
    refused = reader.type(f"! {check} 2>&1")
    assert "CAP_SYS_ADMIN" in refused
    assert "layout" in refused
