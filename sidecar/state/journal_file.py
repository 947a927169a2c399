# SPDX-License-Identifier: Apache-2.0
"""
One file of the journal, open for writing: its records are appended to blocks that it already has.

A file that is created with zeros up to its size needs no change of its metadata for a record: one write that
waits for the disk (`RWF_DSYNC`, pwritev2(2)) makes it durable. OSErrors pass through.
"""

import os
import sys
from collections.abc import Sequence

from sidecar.kernel import trusted
from sidecar.state import journal_log

GROWS_TO = 4 * 1024 * 1024
"""How large a file of middling records grows: a new file costs two flushes and a rename, a record one."""


class JournalFile:
    """A file of the journal, and the record that was last written to it."""

    def __init__(self, fd: int, checksum: int, end: int, size: int, limit: int) -> None:
        """Own the descriptor; the last record ends at *end*, and further ones fit up to *limit*."""
        self._fd = fd
        self._mark = journal_log.mark(checksum)
        self._checksum = checksum
        self._end = journal_log.aligned(end)
        self._size, self._limit = size, limit
        self._status = os.fstat(fd)

    @classmethod
    def create(
        cls, name: str, directory_fd: int, payload: Sequence[bytes], size: int, limit: int
    ) -> "JournalFile":
        """
        Create a file with a first record and flush it.

        Has at least *size* bytes from the beginning. If its first record fills many of them, further ones
        make it grow: to `GROWS_TO`, or to twice the first one if that is more, but not beyond *limit*.
        """
        record, checksum = journal_log.framed(payload)
        end = journal_log.BLOCK + sum(map(len, record))
        size = max(size, journal_log.aligned(end))
        parts = (journal_log.head(size), *record, bytes(size - end))
        fd = trusted.create_file(name, directory_fd, journal_log.coalesced(parts))
        return cls(fd, checksum, end, size, min(max(size, 2 * end, min(16 * end, GROWS_TO)), limit))

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._size

    def has_room(self, payload: Sequence[bytes]) -> bool:
        """Return whether one more record fits; none does after `fill`."""
        return self._end + journal_log.FRAME_BYTES + sum(map(len, payload)) <= self._limit

    def is_at(self, path: str) -> bool:
        """Return whether *path* leads to this file, in its full size."""
        try:
            present = os.stat(path)  # noqa: PTH116 - a Path would take as long as the rest
        except OSError:
            return False
        return os.path.samestat(present, self._status) and present.st_size == self._size

    def append(self, payload: Sequence[bytes]) -> None:
        """Append a record durably."""
        record, checksum = journal_log.framed(payload, self._checksum)
        at = self._end
        self.fill()  # if this fails, what the file holds in memory may not be on the disk
        at = _write_durably(self._fd, journal_log.coalesced(record), at)
        self._mark, self._checksum = journal_log.mark(checksum), checksum
        self._end, self._size = journal_log.aligned(at), max(self._size, at)

    def fill(self) -> None:
        """Leave no room for a further record."""
        self._end = sys.maxsize

    def rewrite(self, data: bytes, start: int, end: int) -> None:
        """Write what the file holds once more, and flush it: after an error it may only be in memory."""
        _write_durably(self._fd, (memoryview(data)[start:end],), start)

    def acknowledge(self) -> None:
        """Mark the last record as acknowledged; this is not flushed."""
        os.pwrite(self._fd, self._mark, journal_log.MARK_AT)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _write_durably(fd: int, parts: Sequence[bytes | memoryview], at: int) -> int:
    """Write the parts one after the other, and flush them; return their end."""
    # Flushes only what it writes: not the block with the mark.
    flags = os.RWF_DSYNC if len(parts) == 1 else 0
    for part in parts:
        view = memoryview(part)
        while view:
            written = os.pwritev(fd, [view], at, flags)
            view, at = view[written:], at + written
    if not flags:
        os.fdatasync(fd)
    return at
