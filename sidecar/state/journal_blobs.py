# SPDX-License-Identifier: Apache-2.0
"""
The blobs of a file's records: what changes little is written as what changed (pure).

A record's header lists its blobs: `SIZE` for one that follows whole, `[NUMBER]` for one that the file has
already, and `[NUMBER, SIZE]` for one that differs from it in a few 64-bit words, which follow. Blobs are
numbered over the whole file, from 0, except those that it has already. So that large maps cost what changed
in them, their tables are recognized: by identity, or by the *role* that they have in one record after the
other.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from sidecar.state.journal_small import Small

LARGE = 4096
"""Smaller blobs are always written whole: a record of a small map is complete by itself."""

_POSITION_BYTES, _WORD_BYTES = 4, 8
_CHANGE_BYTES = _POSITION_BYTES + _WORD_BYTES
_NONE = -1

Role = Hashable
Entry = int | list[int]


@dataclass(frozen=True)
class Written:
    """
    What a file has after a record.

    Attributes:
        count: How many blobs are numbered.
        tables: The tables of its last record, with their numbers, by identity.
        roles: The last table with each role, and its number.
        small: The small sources of its last record.

    """

    count: int = 0
    tables: Mapping[int, tuple[int, bytes]] = field(default_factory=dict)
    roles: Mapping[Role, tuple[int, bytes]] = field(default_factory=dict)
    small: Small = field(default_factory=Small)


class RecordBlobs:
    """The blobs of one record, which is written after others or, in a new file, after none."""

    def __init__(self, written: Written) -> None:
        """*written* is what the file has."""
        self._before = written
        self._count = written.count
        self._tables: dict[int, tuple[int, bytes]] = {}
        self._roles: dict[Role, tuple[int, bytes]] = {}
        self._small: dict[bytes, int] = {}
        self._places: dict[int, int] = {}
        self.entries: list[Entry] = []
        self.parts: list[bytes] = []

    def add(self, blob: bytes) -> int:
        """Return the place of a blob in the record; equal ones are stored once."""
        place = self._small.get(blob)
        if place is None:
            place = self._small[blob] = self.add_unique(blob)
        return place

    def add_unique(self, blob: bytes) -> int:
        """Return the place of a blob that is equal to no other."""
        self.entries.append(len(blob))
        self.parts.append(blob)
        self._count += 1
        return len(self.entries) - 1

    def add_table(self, blob: bytes, role: Role) -> int:
        """Return the place of a blob that may also be in the record before, or resemble one there."""
        if len(blob) < LARGE:
            return self.add(blob)
        if id(blob) not in self._places:
            self._places[id(blob)] = self._table(blob, role)
        return self._places[id(blob)]

    def add_same(self, blob: bytes) -> int:
        """Return the place of a blob that may also be in the record before, and is else written whole."""
        if len(blob) < LARGE:
            return self.add(blob)
        number = next((number for number, known in self._known() if known == blob), self._count)
        place = self._append([number]) if number < self._count else self._append(len(blob), blob)
        self._tables[id(blob)] = number, blob
        return place

    def written(self, small: Small) -> Written:
        """Return what the file has after this record, which has these small sources."""
        return Written(self._count, self._tables, self._roles, small)

    def _known(self) -> Iterator[tuple[int, bytes]]:
        return chain(self._before.tables.values(), self._tables.values())

    def _table(self, blob: bytes, role: Role) -> int:
        known = self._before.tables.get(id(blob)) or self._equal(blob)
        number, like = self._roles.get(role) or self._before.roles.get(role) or (0, b"")
        change = None if known or len(like) != len(blob) else difference(like, blob, len(blob) // 2)
        if known or change == b"":
            number = known[0] if known else number
            place = self._append([number])
        elif change is None:
            number = self._count
            place = self.add_unique(blob)
        else:
            of, number = number, self._count
            place = self._append([of, len(change)], change)
        self._tables[id(blob)] = self._roles[role] = number, blob
        return place

    def _equal(self, blob: bytes) -> tuple[int, bytes] | None:
        """Return a table of this record that is equal: totals are what the counters hold, for example."""
        return next((table for table in self._tables.values() if table[1] == blob), None)

    def _append(self, entry: Entry, part: bytes | None = None) -> int:
        self.entries.append(entry)
        if part is not None:
            self.parts.append(part)
            self._count += 1
        return len(self.entries) - 1


class FileBlobs:
    """The blobs of the records of a file, as they are read."""

    def __init__(self) -> None:
        # The bytes of each blob, and the number of the one that they change, or _NONE.
        self._parts: list[tuple[memoryview, int]] = []
        self._whole: dict[int, bytes] = {}

    def take(self, entries: Sequence[object], data: memoryview) -> list[int]:
        """
        Take a record's blobs; return the number of each.

        Raises:
            ValueError: The entries are malformed, or do not fill the data.

        """
        return list(self._take(entries, data))

    def __getitem__(self, number: int) -> bytes:
        if number not in self._whole:
            self._whole[number] = self._made(number)
        return self._whole[number]

    def _take(self, entries: Sequence[object], data: memoryview) -> Iterator[int]:
        for entry in entries:
            of, size = _checked(entry, len(self._parts))
            if size is None:
                yield of
                continue
            if len(data) < size:
                raise ValueError("malformed journal: the blob sizes do not add up")
            self._parts.append((data[:size], of))
            data = data[size:]
            yield len(self._parts) - 1
        if data:
            raise ValueError("malformed journal: the blob sizes do not add up")

    def _made(self, number: int) -> bytes:
        """Return a blob: the whole one that it goes back to, with one change after the other."""
        changes = []
        part, of = self._parts[number]
        while of != _NONE and of not in self._whole:
            changes.append(part)
            part, of = self._parts[of]
        if of == _NONE:
            whole = bytes(part)
        else:
            changes.append(part)
            whole = self._whole[of]
        return changed(whole, changes[::-1]) if changes else whole


def _checked(entry: object, count: int) -> tuple[int, int | None]:
    """Return the number of the blob that an entry refers to or _NONE, and the bytes that follow, if any."""
    if type(entry) is int and entry >= 0:
        return _NONE, entry
    if type(entry) is list and len(entry) in (1, 2) and all(type(number) is int for number in entry):
        of, size = (*entry, None)[:2]
        if 0 <= of < count and (size is None or size >= 0):
            return of, size
    raise ValueError(f"malformed journal: invalid blob: {entry!r:.40}")


def difference(before: bytes, after: bytes, at_most: int) -> bytes | None:
    """Return the words of *after* that differ, as positions and values; None if that has too many bytes."""
    if before == after:
        return b""
    if len(after) % _WORD_BYTES:
        return None
    import numpy as np  # noqa: PLC0415 - only tables need it, and there it is loaded already

    words = np.frombuffer(after, np.uint64)
    differs = words != np.frombuffer(before, np.uint64)
    if _CHANGE_BYTES * np.count_nonzero(differs) > at_most:
        return None
    where = np.flatnonzero(differs)
    return where.astype(np.uint32).tobytes() + words[where].tobytes()


def changed(before: bytes, changes: Sequence[memoryview]) -> bytes:
    """Return *before* with the words of each of the *changes*; raise ValueError if they do not fit."""
    import numpy as np  # noqa: PLC0415

    if len(before) % _WORD_BYTES or any(len(change) % _CHANGE_BYTES for change in changes):
        raise ValueError("malformed journal: a change that does not fit")
    words = np.frombuffer(before, np.uint64).copy()
    for change in changes:
        count = len(change) // _CHANGE_BYTES
        where = np.frombuffer(change[: _POSITION_BYTES * count], np.uint32)
        if count and int(where.max()) >= len(words):
            raise ValueError("malformed journal: a change that does not fit")
        words[where] = np.frombuffer(bytes(change[_POSITION_BYTES * count :]), np.uint64)
    return words.tobytes()
