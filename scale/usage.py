# SPDX-License-Identifier: Apache-2.0
"""The resources of a process: CPU time, memory, bytes received."""

import os
import re
from pathlib import Path

from demo.processes import run

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used since its start (proc(5), utime + stime)."""
    # The command's name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    """Return the resident size of a process, MiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


class Received:
    """Bytes received on a local port, including closed connections that were seen while open."""

    def __init__(self, port: int) -> None:
        """Count from now on."""
        self._port = port
        self._by_peer: dict[str, int] = {}
        self._before = 0
        self._before = self.bytes()
        self.connections = 0

    def bytes(self) -> int:
        """Return the bytes since the start; call it often, so that few connections go unseen."""
        text = run("ss", "-tiOHn", "state", "established", f"sport = :{self._port}")
        found = re.findall(r"^\d+\s+\d+\s+\S+\s+(\S+).*?bytes_received:(\d+)", text, re.MULTILINE)
        self.connections = len(found)
        self._by_peer |= {peer: int(count) for peer, count in found}
        return sum(self._by_peer.values()) - self._before
