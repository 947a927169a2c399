# SPDX-License-Identifier: Apache-2.0
"""
The machine that the sidecar runs on, as frozen values: kernel and disk.

Time is in ns and only passes with ticks, so the same events in another order lead to the same state.
"""

import json
import sys
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from sidecar.state import journal_format, journal_log
from sidecar.state.record import Record

EPOCH = 1_000_000
TICK = 1_000
CLOCK_STEP = 2_500


class Map(NamedTuple):
    """
    A BPF map with one entry.

    Attributes:
        id: Its id.
        source: Number of the source that reads it.
        loaded: When it began to count, uptime in ns.
        count: Its value.
        written: Its value at the last reading in the journal: what it counts after that is lost with it.
        frozen: Its value at the last reading in a batch: what it counts after that is lost if it is emptied.
        cycled: Its value in the last complete cycle, which must be in the journal.

    """

    id: int
    source: int
    loaded: int
    count: int = 0
    written: int = 0
    frozen: int = 0
    cycled: int = 0


class Kernel(NamedTuple):
    """
    The kernel: for each source the id of the *pinned* map, which it reads, and of the *active* one, which
    counts.

    They differ from when a new map is pinned until its program is attached, in the tick *attached_in*.
    """

    boot: int
    uptime: int
    clock_offset: int
    maps: tuple[Map, ...]
    pinned: tuple[int, ...]
    active: tuple[int, ...]
    next_id: int
    marks: frozenset[tuple[int, int]] = frozenset()
    attached_in: int = 0

    @property
    def wall_clock(self) -> int:
        return EPOCH + self.uptime + self.clock_offset

    def map(self, map_id: int) -> Map:
        return next(held for held in self.maps if held.id == map_id)

    def changed(self, map_id: int, **changes: int) -> "Kernel":
        maps = tuple(held._replace(**changes) if held.id == map_id else held for held in self.maps)
        return self._replace(maps=maps)

    def counted(self, source: int, packets: int) -> "Kernel":
        active = self.map(self.active[source])
        return self.changed(active.id, count=active.count + packets)

    def pinned_new(self, source: int, attached_in: int) -> "Kernel":
        """Return the kernel with a new map at the pin, whose program is not attached yet."""
        new = Map(self.next_id, source, self.uptime)
        return self._replace(
            maps=(*self.maps, new),
            pinned=put(self.pinned, source, new.id),
            next_id=self.next_id + 1,
            attached_in=attached_in,
        )

    def attached(self) -> "Kernel":
        """Return the kernel in which exactly the programs of the pinned maps count."""
        return self._replace(active=self.pinned, attached_in=0)

    def without(self, dead: set[int]) -> "Kernel":
        return self._replace(maps=tuple(held for held in self.maps if held.id not in dead))

    def rebooted(self) -> "Kernel":
        """Return the kernel after a reboot: another boot id, the same map ids, all counters at zero."""
        fresh = tuple(Map(1 + source, source, self.uptime) for source in range(len(self.pinned)))
        ids = tuple(held.id for held in fresh)
        return Kernel(self.boot + 1, self.uptime, self.clock_offset, fresh, ids, ids, len(ids) + 1)


class Disk(NamedTuple):
    """
    The journal in the state directory, in the page cache and on the disk.

    Attributes:
        journal: The bytes that a reader gets, or None without a file.
        flushed: Its durable bytes.
        entry_flushed: Whether the rename that made it the journal is durable.
        before: The journal after a power cut if the rename is not durable.
        new: The temporary file.
        new_flushed: Its durable bytes.

    """

    journal: bytes | None = None
    flushed: bytes | None = None
    entry_flushed: bool = True
    before: bytes | None = None
    new: bytes | None = None
    new_flushed: bytes | None = None

    def renamed(self) -> "Disk":
        before = self.flushed if self.entry_flushed else self.before
        return Disk(self.new, self.new_flushed, False, before)

    def removed(self) -> "Disk":
        return Disk()

    def entry_synced(self) -> "Disk":
        return self._replace(entry_flushed=True, before=None)

    def written(self, at: int, data: bytes) -> "Disk":
        return self._replace(journal=_overwritten(self.journal, at, data))

    def range_flushed(self, at: int, size: int) -> "Disk":
        data = (self.journal or b"")[at : at + size]
        return self._replace(flushed=_overwritten(self.flushed, at, data))

    @property
    def is_readable(self) -> bool:
        """Whether there is an undamaged journal."""
        return decoded(self.journal or b"") is not None

    @property
    def durable(self) -> bytes | None:
        """The bytes that survive a power cut in any case."""
        return self.flushed if self.entry_flushed else self.before

    def after_power_cut(self) -> "set[Disk]":
        """Return every disk that a power cut may leave: of what was not flushed, any sectors in any order."""
        contents = _sectors_written(self.flushed, self.journal)
        contents |= set() if self.entry_flushed else {self.before}
        return {Disk(content, content) for content in contents}

    @property
    def key(self) -> object:
        """All that a process's behaviour depends on: no records before or after the last valid one."""
        return self._replace(journal=_last_record(self.journal), flushed=_last_record(self.flushed))


def _overwritten(was: bytes | None, at: int, data: bytes) -> bytes:
    was = (was or b"").ljust(at, b"\0")
    return was[:at] + data + was[at + len(data) :]


def _sectors_written(flushed: bytes | None, written: bytes | None) -> "set[bytes | None]":
    """Return what may be on the disk: the head, and each half of a record, may have been written or not."""
    if flushed is None or written is None or len(flushed) != len(written):
        return {flushed, written}
    differing = [at for at in range(journal_log.BLOCK, len(written)) if flushed[at] != written[at]]
    start, end = (differing[0], differing[-1] + 1) if differing else (len(written), len(written))
    cuts = (0, journal_log.BLOCK, (start + end) // 2, len(written))
    contents = {b""}
    for first, last in pairwise(cuts):
        contents = {head + part[first:last] for head in contents for part in (flushed, written)}
    return set(contents)


@cache
def _last_record(journal: bytes | None) -> object:
    """Return where the last record begins, whether it is acknowledged, and all that it consists of."""
    try:
        found = journal_log.last(journal or b"")
    except ValueError:
        return journal
    *before, last = map(bytes, found.payloads)
    header = json.loads(last[4 : 4 + int.from_bytes(last[:4], sys.byteorder)])
    is_complete = all(type(entry) is int for entry in header["blobs"])
    return found.start, found.acknowledged, last, () if is_complete else tuple(before)


@cache
def decoded(journal: bytes) -> Record | None:
    """Return the record in a journal, or None if it is damaged."""
    try:
        return journal_format.decode(journal).record
    except ValueError:
        return None


def put(values: tuple, at: int, value: object) -> tuple:  # type: ignore[type-arg]
    """Return *values* with the one at index *at* replaced."""
    return (*values[:at], value, *values[at + 1 :])
