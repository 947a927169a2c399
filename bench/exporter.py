# SPDX-License-Identifier: Apache-2.0
"""Cloudflare's ebpf_exporter on maps that we fill: CPU time of a scrape, memory."""

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.keys import Map
from bench.measure import process_cpu_s, rss_mib
from bench.place import BUILD, HERE, ROOT, compile_bpf
from sidecar.kernel import syscall as bpf
from sidecar.kernel.cpus import possible_cpus

_FILES = "ebpf_exporter"
# It exits on unexpected control groups, such as podman's, so it gets to see none.
_WITHOUT_CGROUPS = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")
_READY_S = 30.0
# Its garbage collector still runs after the response.
_SETTLED_S = 0.3


def binary() -> str | None:
    """Return the binary named by EBPF_EXPORTER or built by `make ebpf-exporter`, or None."""
    return shutil.which(os.environ.get("EBPF_EXPORTER", ROOT / ".build/bin/ebpf_exporter"))


class EndedError(Exception):
    """ebpf_exporter exited or did not start; the text is the end of its log."""


@dataclass(frozen=True)
class Exporter:
    """A running ebpf_exporter and its maps."""

    process: "subprocess.Popen[bytes]"
    port: int
    maps: Sequence[Map]
    log: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def check(self) -> None:
        """Raise EndedError if it has exited."""
        if self.process.poll() is not None:
            lines = self.log.read_text().strip().splitlines() or [f"exit code {self.process.returncode}"]
            raise EndedError(f"ebpf_exporter ended: {lines[-1]}")

    def count(self, keys: int) -> None:
        """Increment the counters of the first *keys* keys of each map."""
        for held in self.maps:
            held.count(keys)

    def scrape(self, *, gzip: bool = False) -> float:
        """Scrape it once, with gzip (Prometheus' default) or without; return its CPU seconds."""
        self.check()
        before = process_cpu_s(self.pid)
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip" if gzip else "identity"})
        page = connection.getresponse().read()
        connection.close()
        if not gzip and page.count(b"\nebpf_exporter_field") != sum(held.entries for held in self.maps):
            raise RuntimeError(f"ebpf_exporter's page does not have all keys: {page[-200:]!r}")
        time.sleep(_SETTLED_S)
        return process_cpu_s(self.pid) - before

    def rss_mib(self) -> float:
        """Return its resident memory, MiB."""
        return rss_mib(self.pid)


@contextmanager
def running(program: str, name: str, entries: int) -> Iterator[Exporter]:
    """Run it with the maps of NAME.bpf.c and NAME.yaml, each with *entries* keys; raises EndedError."""
    config = compile_bpf(f"{_FILES}/{name}.bpf.c").parent
    shutil.copy(HERE / _FILES / f"{name}.yaml", config)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(*_WITHOUT_CGROUPS, program, f"--config.dir={config}", f"--config.names={name}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with ExitStack() as held, (BUILD / "ebpf_exporter.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        held.callback(process.wait)
        held.callback(process.terminate)
        made = Exporter(process, port, [], Path(log.name))
        _wait(made)
        slots = len(possible_cpus())
        maps = [Map(fd, entries, 1, slots) for fd in _maps(process.pid)]
        for filled in maps:
            held.callback(os.close, filled.fd)
            filled.count(entries)
        yield replace(made, maps=maps)


def _wait(made: Exporter) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        made.check()
        try:
            socket.create_connection(("127.0.0.1", made.port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise EndedError(f"ebpf_exporter does not listen after {_READY_S:.0f} s")


def _maps(pid: int) -> list[int]:
    """Return descriptors of the maps that a process has open, by /proc/PID/fdinfo."""
    ids = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed since
            lines = entry.read_text().splitlines()
            ids |= {int(line.split()[1]) for line in lines if line.startswith("map_id:")}
    return [bpf.map_fd_by_id(map_id, readonly=False) for map_id in sorted(ids)]
