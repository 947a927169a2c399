# SPDX-License-Identifier: Apache-2.0
"""A user's own XDP program on an interface, the command as a user runs it, and bpftool as the oracle."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.kernel.compiled import MAPS, compile_object
from tests.kernel.packets import IPV4, TCP, UDP, ethernet, ipv4, tcp, udp
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "sidecar")


def xdp_otel(*arguments, prefix=(), code=0, environ=None):
    """Run the command; return its output, or its errors if another *code* than 0 is expected."""
    done = subprocess.run(
        [*prefix, *COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "XDP_OTEL_STATE_DIR": "/nonexistent/xdp-otel", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def bpftool(*arguments):
    """Return what bpftool prints, parsed."""
    command = ["bpftool", "-j", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class UserProgram:
    """flows.bpf.c, loaded, pinned and attached as users do: with bpftool."""

    def __init__(self, interface, directory, scratch, mode="xdpdrv"):
        self.interface = interface
        self.directory = directory
        self.program = directory / "prog"
        self.map = directory / "maps/flows"
        directory.mkdir()
        self._object = compile_object(MAPS / "flows.bpf.c", scratch / "flows.bpf.o")
        self._mode = mode
        self._load(self.program, directory / "maps")
        self.sent = Counter()

    def load_again(self):
        """Replace the program: its new map takes over the pin of the old one."""
        maps = self.directory / "again"
        self._load(self.directory / "prog2", maps)
        (maps / self.map.name).rename(self.map)

    def _load(self, program, maps):
        self._bpftool("prog", "load", self._object, program, "type", "xdp", "pinmaps", maps)
        attach = ("net", "attach", self._mode, "pinned", program, "dev", self.interface.name, "overwrite")
        self._bpftool(*attach)

    def close(self):
        """Detach the program and remove its pins."""
        for kind in ("xdpdrv", "xdpgeneric"):
            subprocess.run(
                ["bpftool", "net", "detach", kind, "dev", self.interface.name],
                check=False,
                capture_output=True,
            )
        subprocess.run(["rm", "-r", self.directory], check=True)

    def send(self, address, protocol, count, payload=b""):
        """Make the interface receive *count* packets from a sender."""
        packet = ipv4(protocol, {TCP: tcp, UDP: udp}[protocol](payload))
        frame = ethernet(IPV4, packet[:12] + socket.inet_aton(address) + packet[16:])
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((f"{self.interface.name}p", 0))
            for _ in range(count):
                raw.send(frame)
        self.sent[address, protocol] += count

    def counted(self):
        """Return bpftool's counts by sender and protocol, summed over the CPUs."""
        totals = {}
        for entry in bpftool("map", "dump", "pinned", self.map):
            key = entry["formatted"]["key"]
            address = socket.inet_ntoa(key["saddr"].to_bytes(4, sys.byteorder))
            values = [slot["value"] for slot in entry["formatted"]["values"]]
            totals[address, key["proto"]] = {name: sum(each[name] for each in values) for name in values[0]}
        return totals

    @staticmethod
    def _bpftool(*arguments):
        subprocess.run(["bpftool", *map(str, arguments)], check=True, capture_output=True, text=True)
