# SPDX-License-Identifier: Apache-2.0
"""
What the sidecar's own code calls instead of kernel, disk and clock.

Each call acts on the one world in `HERE`. After each that changed something the process may be killed: what
the world is then is kept as a crash.
"""

import errno
import os
import stat
from collections.abc import Callable
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

from sidecar.model import Reading, Temporality
from sidecar.state.record import Record
from tests.model.explorer import Asked
from tests.model.machine import EPOCH, decoded
from tests.model.outside import Outside

KEY = bytes(4)


class Crash(NamedTuple):
    """The process killed after some edge: what had happened by then, and the world it leaves."""

    labels: tuple[str, ...]
    faults: int
    outside: Outside


class Here:
    """The world that is acted on, and who decides in it."""

    outside: Outside
    asked: Asked
    kinds: frozenset[str]
    answers: tuple[str, ...]
    durable_first: bool
    temporality: Temporality

    def enter(self, outside: Outside, asked: Asked) -> None:
        """Begin a run in *outside*."""
        self.outside = outside
        self.asked = asked
        self.crashes: list[Crash] = []
        self.readings: dict[int, int] = {}
        self.pushes = 0
        self.troubled = False

    def become(self, what: str, **changes: Any) -> None:
        """Change the world; the process may be killed right after it."""
        changed = self.outside._replace(**changes)
        if changed != self.outside:
            self.outside = changed
            self.may_crash(what)

    def temporary(self, **changes: bytes | None) -> None:
        """Change the temporary file: killed after that, the process leaves what it would have left before."""
        self.outside = self.outside._replace(disk=self.outside.disk._replace(**changes))

    def may_crash(self, after: str) -> None:
        """Keep the world as the process would leave it if it were killed now."""
        asked = self.asked
        if "crash" in self.kinds and asked.is_new and asked.can_fail:
            labels = (*asked.labels, f"killed after {after}")
            self.crashes.append(Crash(labels, asked.faults + 1, self.outside))

    def may_fail(self, kind: str, what: str, code: int) -> None:
        """Raise OSError if the world decides so."""
        if kind in self.kinds and self.asked.choose("", what):
            self.troubled = True
            raise OSError(code, os.strerror(code))


HERE = Here()


class Path:
    """The state directory, or a file in it."""

    def __init__(self, name: str = "state") -> None:
        self._name = name

    def __truediv__(self, name: str) -> "Path":
        return Path(name)

    def __str__(self) -> str:
        return self._name

    with_name = __truediv__


class Os:
    """`os` as the journal and `trusted` know it; state directory and files are their own descriptors."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)  # the flags

    def open(self, name: str, flags: int, _mode: int = 0, *, dir_fd: str) -> str:
        if name == "journal" and HERE.outside.disk.journal is None:
            raise FileNotFoundError(errno.ENOENT, "no journal")
        if flags & os.O_CREAT:
            HERE.temporary(new=b"", new_flushed=b"")
        return name

    def fstat(self, fd: str) -> SimpleNamespace:
        return SimpleNamespace(st_mode=stat.S_IFREG, st_uid=0, st_size=len(HERE.outside.disk.journal or b""))

    def read(self, _fd: str, _size: int) -> bytes:
        return HERE.outside.disk.journal or b""

    def write(self, _fd: str, data: memoryview) -> int:
        HERE.may_fail("disk", "disk full", errno.ENOSPC)
        HERE.temporary(new=(HERE.outside.disk.new or b"") + bytes(data))
        return len(data)

    def pwrite(self, _fd: str, data: bytes, at: int) -> None:
        HERE.may_fail("disk", "mark not written", errno.EIO)
        disk = HERE.outside.disk
        was = disk.journal or b""
        HERE.become("mark", disk=disk._replace(journal=was[:at] + data + was[at + len(data) :]))

    def fsync(self, fd: str) -> None:
        disk = HERE.outside.disk
        if fd == "state":
            HERE.may_fail("disk", "directory not flushed", errno.EIO)
            _committed(already=disk.entry_flushed)
        elif fd == "journal.new":
            HERE.temporary(new_flushed=disk.new)
        else:
            HERE.become("flush", disk=disk._replace(flushed=disk.journal))

    def rename(self, name: str, target: str, **_: str) -> None:
        disk = HERE.outside.disk
        renamed = disk.renamed() if name == "journal.new" else disk.removed()
        HERE.become(f"{name} became {target}", disk=renamed)

    def unlink(self, _name: str, **_: str) -> None:
        HERE.temporary(new=None, new_flushed=None)

    def fchmod(self, _fd: str, _mode: int) -> None:
        pass

    def close(self, _fd: str) -> None:
        pass


def _committed(*, already: bool) -> None:
    """The journal's name is durable: what was read before it was written is safe from now on."""
    disk = HERE.outside.disk.entry_synced()
    record = decoded(disk.journal or b"")
    if already or record is None:
        return
    kernel, ledger = HERE.outside.kernel, HERE.outside.ledger
    for map_id, read in HERE.readings.items():
        if (map_id, read) in _seen(record):
            kernel = kernel.changed(map_id, written=read)
        if "empty" in HERE.kinds and (map_id, read) in _frozen(record):
            kernel = kernel.changed(map_id, frozen=read)
    if ledger.journal_lost and HERE.temporality is not Temporality.CUMULATIVE:
        for source, truth in enumerate(ledger.truth):
            unshown = truth - ledger.shown[source] - ledger.lost[source]
            ledger = ledger.may_lose(source, max(0, unshown))
    HERE.become("commit", disk=disk, kernel=kernel, ledger=ledger.journal_written())


def _frozen(record: Record) -> set[tuple[int, int]]:
    """Return the maps, and what they held, that are in a batch, or were."""
    batch = record.pending.baselines if record.pending else {}
    baselines = (*record.acknowledged.values(), *batch.values())
    return {
        (identity.map_id, reading.cells[KEY][0])
        for baseline in baselines
        for identity, reading in baseline.maps.items()
        if KEY in reading.cells
    }


def _seen(record: Record) -> set[tuple[int, int]]:
    """Return the maps, and what they held, that a new process knows of."""
    snapshots = chain.from_iterable(record.snapshots.values())
    return _frozen(record) | {(one.identity.map_id, one.reading.cells[KEY][0]) for one in snapshots}


def _read_map(fd: int, _info: Any, schema: Any) -> Reading:
    kernel = HERE.outside.kernel
    read = kernel.map(fd)
    try:
        HERE.may_fail("read", "read failed", errno.EIO)
    except OSError:
        # What was read of the source's other maps is not used either.
        HERE.readings = {one: n for one, n in HERE.readings.items() if kernel.map(one).source != read.source}
        raise
    HERE.readings[fd] = read.count
    return Reading(schema.columns(1), {KEY: (read.count,) + (0,) * (len(schema.layout.fields) - 1)})


def _map_info(fd: int) -> SimpleNamespace:
    return SimpleNamespace(id=fd, name="stats_map", type=6, key_size=4, value_size=64, max_entries=1, flags=0)


def _boot_id() -> str:
    return f"boot-{HERE.outside.kernel.boot}\n"


def locate(source: int) -> Callable[[object], int]:
    """Return what finds the map of a source; a file descriptor is the map's id."""
    return lambda _: HERE.outside.kernel.pinned[source]


def born(map_id: int) -> int:
    """Return the load time of a map as the wall clock of now would have shown it."""
    kernel = HERE.outside.kernel
    return EPOCH + kernel.clock_offset + kernel.map(map_id).loaded


class Reported:
    """The marks in bpffs."""

    def mark(self, map_id: int, start_time_ns: int) -> None:
        kernel = HERE.outside.kernel
        if self.start_time_ns(map_id) is None:
            HERE.become(
                "mark in bpffs", kernel=kernel._replace(marks=kernel.marks | {(map_id, start_time_ns)})
            )

    def start_time_ns(self, map_id: int) -> int | None:
        return dict(HERE.outside.kernel.marks).get(map_id)


class Clock:
    """A clock by which every retry is due in the next tick."""

    def now(self) -> float:
        return HERE.outside.tick * 1000.0

    def wait(self, _seconds: float) -> bool:
        return False


REPLACED = {
    "sidecar.state.journal.os": Os(),
    "sidecar.kernel.trusted.os": Os(),
    "sidecar.state.journal.path_lock": SimpleNamespace(lock=lambda *_: "state", leads_to=lambda *_: True),
    "sidecar.sources.source.bpf": SimpleNamespace(map_info=_map_info),
    "sidecar.sources.source.bpf_reader": SimpleNamespace(read=_read_map),
    "sidecar.sources.source.os": SimpleNamespace(close=lambda _fd: None),
    "sidecar.sources.source.time": SimpleNamespace(
        time_ns=lambda: HERE.outside.kernel.wall_clock,
        clock_gettime_ns=lambda _: HERE.outside.kernel.uptime,
        CLOCK_BOOTTIME=7,
    ),
    "sidecar.sources.source.Path": lambda _path: SimpleNamespace(read_text=_boot_id),
    "sidecar.state.lost_journal.reported": Reported(),
    # Nobody notices that a Collector is another one: the harder case.
    "sidecar.delivery.connections": SimpleNamespace(present=frozenset),
}
