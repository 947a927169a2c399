# SPDX-License-Identifier: Apache-2.0
"""
The machine that the sidecar runs on, as frozen values: kernel and disk.

Time is in ns and passes with the ticks alone, so the same history told in another order is the same state.
"""

from functools import cache
from typing import NamedTuple

from sidecar.state import journal_format
from sidecar.state.record import Record

EPOCH = 1_000_000
TICK = 1_000
CLOCK_STEP = 2_500


class Map(NamedTuple):
    """
    A BPF map with one entry.

    Attributes:
        id: Its id.
        source: Whose map it is.
        loaded: Since when it counts.
        count: What it holds.
        written: What it held at the last reading that is in the journal: what it counts beyond dies with it.
        frozen: What it held at the last reading that is in a batch: what it counts beyond is lost if somebody
            empties it.
        cycled: What it held in the last whole cycle, which must have been written.

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
    *pinned*: where each source finds its map; *active*: the map that its program counts in.

    They differ between the pinning of a new map and the attaching of its program, in the tick *attached_in*.
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
        return next(one for one in self.maps if one.id == map_id)

    def changed(self, map_id: int, **changes: int) -> "Kernel":
        maps = tuple(one._replace(**changes) if one.id == map_id else one for one in self.maps)
        return self._replace(maps=maps)

    def counted(self, source: int, packets: int) -> "Kernel":
        active = self.map(self.active[source])
        return self.changed(active.id, count=active.count + packets)

    def pinned_new(self, source: int, attached_in: int) -> "Kernel":
        """A new map takes the pin; its program is not attached yet."""
        new = Map(self.next_id, source, self.uptime)
        return self._replace(
            maps=(*self.maps, new),
            pinned=put(self.pinned, source, new.id),
            next_id=self.next_id + 1,
            attached_in=attached_in,
        )

    def attached(self) -> "Kernel":
        """The programs of the pinned maps count, and no others."""
        return self._replace(active=self.pinned, attached_in=0)

    def without(self, dead: set[int]) -> "Kernel":
        return self._replace(maps=tuple(one for one in self.maps if one.id not in dead))

    def rebooted(self) -> "Kernel":
        """Other boot id, the same map ids, all counters at zero."""
        fresh = tuple(Map(1 + source, source, self.uptime) for source in range(len(self.pinned)))
        ids = tuple(one.id for one in fresh)
        return Kernel(self.boot + 1, self.uptime, self.clock_offset, fresh, ids, ids, len(ids) + 1)


class Disk(NamedTuple):
    """
    The journal in the state directory, as the page cache has it and as the platter has it.

    Attributes:
        journal: What a reader of the file gets, or None if there is no file.
        flushed: What of it is durable.
        entry_flushed: Whether the rename that made it the journal is durable.
        before: What the name leads to after a power cut if the rename is not.
        new: The temporary file.
        new_flushed: What of that is durable.

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

    @property
    def is_readable(self) -> bool:
        """Whether there is a journal, undamaged."""
        return decoded(self.journal or b"") is not None

    @property
    def durable(self) -> bytes | None:
        """What surely survives a power cut."""
        return self.flushed if self.entry_flushed else self.before

    def after_power_cut(self) -> "set[Disk]":
        """Everything that may be found then."""
        found = {self.flushed, self.journal} | (set() if self.entry_flushed else {self.before})
        return {Disk(content, content) for content in found}


@cache
def decoded(journal: bytes) -> Record | None:
    """Return the record in a journal, or None if it is damaged."""
    try:
        return journal_format.decode(journal)[0]
    except ValueError:
        return None


def put(values: tuple, at: int, value: object) -> tuple:  # type: ignore[type-arg]
    """Return *values* with another one at a place."""
    return (*values[:at], value, *values[at + 1 :])
