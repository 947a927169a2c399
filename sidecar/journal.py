# SPDX-License-Identifier: Apache-2.0
"""
The durable record: one frozen batch and the baselines around it, in one file.

A record is replaced as a whole: written to a temporary file, flushed, renamed, and the directory flushed. So
after a crash the file holds the old record or the new one, never a mixture, and whatever does not match its
checksum is damage, not an interrupted write. Invariants:

- A batch is sent only after `commit` has returned: what may have been counted is always on disk.
- The acknowledgement is a small mark within the file, not flushed: if a power cut loses it, the batch is sent
  once more, the same bytes, and the receiver drops it as known.
- The file holds at most one batch, however long the Collector is away.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar import journal_format
from sidecar.errors import StateError, explain
from sidecar.model import Record

log = logging.getLogger(__name__)

_WRITTEN_AT_ONCE = 256 * 1024

_REMEDY = "make it a writable directory with free space, or name another with --state-dir"


class Journal:
    """The journal in one state directory, locked against a second writer while it is open."""

    def __init__(self, directory: Path) -> None:
        """
        Create and lock the directory.

        Raises:
            StateError: It cannot be written, or another sidecar uses it.

        """
        self._path = directory / "journal"
        self._mark = b""
        with _errors(f"open state directory {directory}"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock(directory)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock_fd)
        os.close(self._directory_fd)

    def load(self) -> Record:
        """
        Return the record, or an empty one if there is none.

        A damaged file is set aside as `journal.damaged`, with an error in the log.

        Raises:
            StateError: The file cannot be read.

        """
        with _errors(f"read journal {self._path}"):
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return Record()
            # The last process may have ended between the renaming and this, and what we find will be sent.
            os.fsync(self._directory_fd)
        try:
            record, acknowledged = journal_format.decode(data)
        except ValueError as error:
            return self._set_aside(error)
        self._mark = journal_format.mark(data)
        return record.after_acknowledgement() if acknowledged else record

    def commit(self, record: Record) -> int:
        """
        Replace the record, durably; return the size of the file, bytes.

        Raises:
            StateError: It could not be written, or not durably: nothing of it may be sent.

        """
        parts = journal_format.encode(record)
        temporary = self._path.with_name("journal.new")
        with _errors(f"write journal {self._path}"):
            try:
                _write_durably(temporary, parts)
                temporary.replace(self._path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            self._mark = journal_format.mark(parts[0])
            os.fsync(self._directory_fd)
        return sum(map(len, parts))

    def acknowledge(self) -> None:
        """
        Mark the committed batch as acknowledged.

        Raises:
            StateError: The mark could not be written; the batch would be sent again after a restart.

        """
        with _errors(f"write journal {self._path}"):
            fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.pwrite(fd, self._mark, journal_format.MARK_AT)
            finally:
                os.close(fd)

    def _lock(self, directory: Path) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock_fd, 32, 0).decode(errors="replace").strip()
            self.close()
            raise StateError(
                f"lock state directory {directory}",
                f"in use by process {holder}" if holder else explain(error),
                "stop that sidecar, or name another directory with --state-dir",
            ) from None
        with _errors(f"write {directory / 'lock'}"):
            os.ftruncate(self._lock_fd, 0)
            os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)

    def _set_aside(self, error: Exception) -> Record:
        aside = self._path.with_name("journal.damaged")
        with _errors(f"set damaged journal {self._path} aside"):
            self._path.replace(aside)
        log.error("read journal %s: damaged (%s): kept as %s, starting without it", self._path, error, aside)
        return Record()


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(what, explain(error), _REMEDY) from error


def _write_durably(path: Path, parts: Sequence[bytes]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for data in _gathered(parts):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _gathered(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the parts again: small ones joined, for fewer writes, large ones as they are, for less memory."""
    some: list[bytes] = []
    size = 0
    for part in parts:
        if some and size + len(part) > _WRITTEN_AT_ONCE:
            yield b"".join(some)
            some, size = [], 0
        some.append(part)
        size += len(part)
    yield b"".join(some)
