# SPDX-License-Identifier: Apache-2.0
"""
Fakes that the sidecar's code calls in place of kernel, disk and clock.

Each call acts on the environment in `HERE`. After each change the process may be killed: the environment at
that moment is kept as a crash.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any, NamedTuple

from sidecar.counts.columns import Table
from sidecar.model import Reading, Temporality
from sidecar.state.record import Record
from tests.model.environment import Environment
from tests.model.explorer import Decisions
from tests.model.machine import EPOCH, Disk, decoded

KEY = bytes(4)


class Crash(NamedTuple):
    """The process killed after a call: the labels of what had happened, and the environment it leaves."""

    labels: tuple[str, ...]
    faults: int
    environment: Environment


class Here:
    """The environment of the present run, and what decides in it."""

    environment: Environment
    decisions: Decisions
    kinds: frozenset[str]
    responses: tuple[str, ...]
    durable_first: bool
    temporality: Temporality

    def enter(self, environment: Environment, decisions: Decisions) -> None:
        """Start a run in *environment*."""
        self.environment = environment
        self.decisions = decisions
        self.crashes: list[Crash] = []
        self.readings: dict[int, int] = {}
        self.pushes = 0
        self.troubled = False

    def become(self, what: str, **changes: Any) -> None:
        """Change the environment; the process may be killed right after."""
        changed = self.environment._replace(**changes)
        if changed != self.environment:
            self.environment = changed
            self.may_crash(what)

    def temporary(self, **changes: bytes | None) -> None:
        """Change the temporary file: a process killed after that leaves the same as one killed before."""
        self.environment = self.environment._replace(disk=self.environment.disk._replace(**changes))

    def may_crash(self, after: str) -> None:
        """Keep the environment as the process leaves it if it is killed now."""
        decisions = self.decisions
        if "crash" in self.kinds and decisions.is_new and decisions.can_fail:
            labels = (*decisions.labels, f"killed after {after}")
            self.crashes.append(Crash(labels, decisions.faults + 1, self.environment))

    def may_fail(self, kind: str, what: str, code: int) -> None:
        """Raise OSError if it is decided to fail."""
        if kind in self.kinds and self.decisions.choose("", what):
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
    """`os` for the journal and `trusted`; the names of directory and files serve as their descriptors."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)  # the flags

    def open(self, name: str, flags: int, _mode: int = 0, *, dir_fd: str) -> str:
        if name == "journal" and HERE.environment.disk.journal is None:
            raise FileNotFoundError(errno.ENOENT, "no journal")
        if flags & os.O_CREAT:
            HERE.temporary(new=b"", new_flushed=b"")
        return name

    def fstat(self, _fd: str) -> os.stat_result:
        # Only one process has it, so its file is the only one.
        size = len(HERE.environment.disk.journal or b"")
        return os.stat_result((stat.S_IFREG, 1, 1, 1, 0, 0, size, 0, 0, 0))

    def stat(self, path: str) -> os.stat_result:
        if HERE.environment.disk.journal is None:
            raise FileNotFoundError(errno.ENOENT, "no journal")
        return self.fstat(path)

    def read(self, _fd: str, _size: int) -> bytes:
        return HERE.environment.disk.journal or b""

    def write(self, _fd: str, data: memoryview) -> int:
        HERE.may_fail("disk", "disk full", errno.ENOSPC)
        HERE.temporary(new=(HERE.environment.disk.new or b"") + bytes(data))
        return len(data)

    def pwrite(self, _fd: str, data: bytes, at: int) -> None:
        HERE.may_fail("disk", "mark not written", errno.EIO)
        if HERE.environment.disk.journal is not None:  # else the mark is in a file without a name
            HERE.become("mark", disk=HERE.environment.disk.written(at, data))

    def pwritev(self, _fd: str, parts: list[memoryview], at: int, flags: int) -> int:
        assert flags == os.RWF_DSYNC
        data = b"".join(parts)
        HERE.may_fail("disk", "record not written", errno.ENOSPC)
        half = len(data) // 2
        disk = HERE.environment.disk
        HERE.become("half of the record", disk=disk.written(at, data[:half]))
        HERE.become("the record, not flushed", disk=disk.written(at, data))
        HERE.may_fail("disk", "record not flushed", errno.EIO)
        _committed(disk.written(at, data).range_flushed(at, len(data)))
        return len(data)

    def fsync(self, fd: str) -> None:
        disk = HERE.environment.disk
        if fd == "state":
            HERE.may_fail("disk", "directory not flushed", errno.EIO)
            _committed(disk.entry_synced())
        elif fd == "journal.new":
            HERE.temporary(new_flushed=disk.new)
        else:
            HERE.become("flush", disk=disk._replace(flushed=disk.journal))

    def rename(self, name: str, target: str, **_: str) -> None:
        disk = HERE.environment.disk
        renamed = disk.renamed() if name == "journal.new" else disk.removed()
        HERE.become(f"{name} became {target}", disk=renamed)

    def unlink(self, _name: str, **_: str) -> None:
        HERE.temporary(new=None, new_flushed=None)

    def fchmod(self, _fd: str, _mode: int) -> None:
        pass

    def close(self, _fd: str) -> None:
        pass


def _committed(disk: Disk) -> None:
    """The journal becomes *disk*: if its record is durable only now, readings in it are safe from now on."""
    already = disk.durable == HERE.environment.disk.durable
    record = decoded(disk.durable or b"")
    if already or record is None:
        HERE.become("flush", disk=disk)
        return
    kernel, expected = HERE.environment.kernel, HERE.environment.expected
    for map_id, read in HERE.readings.items():
        if (map_id, read) in _known(record):
            kernel = kernel.changed(map_id, written=read)
        if "empty" in HERE.kinds and (map_id, read) in _frozen(record):
            kernel = kernel.changed(map_id, frozen=read)
    if expected.journal_lost and HERE.temporality is not Temporality.CUMULATIVE:
        for source, truth in enumerate(expected.truth):
            unshown = truth - expected.shown[source] - expected.lost[source]
            expected = expected.may_lose(source, max(0, unshown))
    HERE.become("commit", disk=disk, kernel=kernel, expected=expected.journal_written())


def _frozen(record: Record) -> set[tuple[int, int]]:
    """Return the maps in the pending batch or an earlier one, each with its count."""
    batch = record.pending.baselines if record.pending else {}
    baselines = (*record.acknowledged.values(), *batch.values())
    return {
        (identity.map_id, reading.cells[KEY][0])
        for baseline in baselines
        for identity, reading in baseline.maps.items()
        if KEY in reading.cells
    }


def _known(record: Record) -> set[tuple[int, int]]:
    """Return the maps that a new process knows, each with its count."""
    snapshots = chain.from_iterable(record.snapshots.values())
    return _frozen(record) | {
        (snapshot.identity.map_id, snapshot.reading.cells[KEY][0]) for snapshot in snapshots
    }


def _read_map(fd: int, _info: Any, schema: Any) -> Reading:
    kernel = HERE.environment.kernel
    read = kernel.map(fd)
    try:
        HERE.may_fail("read", "read failed", errno.EIO)
    except OSError:
        # Readings of the source's other maps are discarded too.
        HERE.readings = {
            map_id: count
            for map_id, count in HERE.readings.items()
            if kernel.map(map_id).source != read.source
        }
        raise
    HERE.readings[fd] = read.count
    return Reading(schema.columns(1), {KEY: (read.count,) + (0,) * (len(schema.layout.fields) - 1)})


def read_in_columns(fd: int, info: Any, schema: Any) -> Reading:
    """Read a map as if it were large."""
    reading = _read_map(fd, info, schema)
    return replace(reading, cells=Table.of(reading.cells, len(KEY)))


def _map_info(fd: int) -> SimpleNamespace:
    return SimpleNamespace(id=fd, name="stats_map", type=6, key_size=4, value_size=64, max_entries=1, flags=0)


def _boot_id() -> str:
    return f"boot-{HERE.environment.kernel.boot}\n"


def locate(source: int) -> Callable[[object], int]:
    """Return the function that opens the map of a source; the map's id serves as file descriptor."""
    return lambda _: HERE.environment.kernel.pinned[source]


def born(map_id: int) -> int:
    """Return the load time of a map on the present wall clock."""
    kernel = HERE.environment.kernel
    return EPOCH + kernel.clock_offset + kernel.map(map_id).loaded


class Reported:
    """The marks in bpffs."""

    def mark(self, map_id: int, start_time_ns: int, _state_dir: object = None) -> None:
        kernel = HERE.environment.kernel
        if self.start_time_ns(map_id) is None:
            HERE.become(
                "mark in bpffs", kernel=kernel._replace(marks=kernel.marks | {(map_id, start_time_ns)})
            )

    def start_time_ns(self, map_id: int) -> int | None:
        return dict(HERE.environment.kernel.marks).get(map_id)

    def state_dirs(self, _map_id: int) -> list[str]:
        return []


class Clock:
    """A clock on which every retry is due in the next tick."""

    def now(self) -> float:
        return HERE.environment.tick * 1000.0

    def wait(self, _seconds: float) -> bool:
        return False


# Two records to a file, and few zeros.
BLOCK = 64
FILE_BYTES = 6000

REPLACED = {
    "sidecar.state.journal_log.BLOCK": BLOCK,
    "sidecar.state.journal.FILE_BYTES": FILE_BYTES,
    "sidecar.state.journal_file.os": Os(),
    "sidecar.state.journal.os": Os(),
    "sidecar.kernel.trusted.os": Os(),
    "sidecar.state.journal.path_lock": SimpleNamespace(lock=lambda *_: "state", leads_to=lambda *_: True),
    "sidecar.sources.source.bpf": SimpleNamespace(map_info=_map_info),
    "sidecar.sources.source.bpf_reader": SimpleNamespace(read=_read_map),
    "sidecar.sources.source.os": SimpleNamespace(close=lambda _fd: None),
    "sidecar.sources.source.time": SimpleNamespace(
        time_ns=lambda: HERE.environment.kernel.wall_clock,
        clock_gettime_ns=lambda _: HERE.environment.kernel.uptime,
        CLOCK_BOOTTIME=7,
    ),
    "sidecar.sources.source.Path": lambda _path: SimpleNamespace(read_text=_boot_id),
    "sidecar.state.lost_journal.reported": Reported(),
    # A restart of the Collector is never detected by its connection: the harder case.
    "sidecar.delivery.connections": SimpleNamespace(present=frozenset),
}
