# SPDX-License-Identifier: Apache-2.0
"""
The durable record: one frozen batch and the baselines around it, in one file.

A record is replaced as a whole: written to a temporary file, flushed, renamed, and the directory flushed.
After a crash the file holds the old record or the new one, never a mixture, so a checksum that does not match
means damage, not an interrupted write. Invariants:

- A batch is sent only after `commit` has returned: what may have been counted is always on disk.
- The acknowledgement is a small mark within the file and is not flushed: if a power cut loses it, the same
  bytes are sent once more, and the receiver drops them as known.
- The file holds at most one batch, however long the Collector is unreachable.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sidecar.errors import StateError, explain
from sidecar.kernel import path_lock, trusted
from sidecar.state import journal_format
from sidecar.state.record import Record

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 30
"""Largest journal that is written or read; a million series with many fields take a few hundred MB."""

_WRITE_BYTES = 256 * 1024

FOR_COLLECTOR = "journal"
FOR_SCRAPERS = "journal.none"

_REMEDY = "make it a writable directory with free space, or name another with --state-dir"


def journal_name(*, sends: bool) -> str:
    """Return the name for a process that sends or only serves: what was scraped is still to be sent."""
    return FOR_COLLECTOR if sends else FOR_SCRAPERS


class Journal:
    """
    The journal in one state directory, locked against a second writer while it is open.

    The directory itself is locked, and all names are looked up in the locked one. If it is removed, the next
    commit recreates and locks it.

    Attributes:
        on_recreated: Called after that, to restore the other files of the directory; may raise StateError.
        retain: Returns the part of a loaded record that is kept; None: all of it.

    """

    def __init__(self, directory: Path, name: str = FOR_COLLECTOR) -> None:
        """
        Create and lock the directory; *name* is that of the file.

        Raises:
            StateError: It cannot be written, or another process uses it.

        """
        self._directory = directory
        self._name, self._new, self._damaged = name, f"{name}.new", f"{name}.damaged"
        self._path = directory / name
        self._mark = b""
        self.on_recreated: Callable[[], None] | None = None
        self.retain: Callable[[Record], Record] | None = None
        self._fd = self._lock_directory()

    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def load(self) -> Record:
        """
        Return the record, or an empty one if there is no journal.

        A file that is damaged or untrusted is renamed to `*.damaged`, with an error in the log.

        Raises:
            StateError: The file cannot be read.

        """
        with _state_errors(f"read journal {self._path}"):
            try:
                data = trusted.read_file(self._name, self._fd, LARGEST_BYTES)
            except FileNotFoundError:
                return Record()
            except trusted.UntrustedError as error:
                return self._set_aside(error)
            # The last process may have been killed before it flushed the rename, and its batch will be sent.
            os.fsync(self._fd)
        try:
            record, acknowledged = journal_format.decode(data)
        except ValueError as error:
            return self._set_aside(error)
        self._mark = journal_format.mark(data)
        record = record.after_acknowledgement() if acknowledged else record
        return self.retain(record) if self.retain else record

    def commit(self, record: Record) -> int:
        """
        Replace the record durably; return the size of the file in bytes.

        Raises:
            StateError: It could not be written durably, so its batch must not be sent.

        """
        parts = journal_format.encode(record)
        size = sum(map(len, parts))
        if size > LARGEST_BYTES:
            cause = f"its {size:,} bytes exceed the limit of {LARGEST_BYTES:,}"
            raise StateError(f"write journal {self._path}", cause, "lower --series-limit")
        self._relock_if_removed()
        with _state_errors(f"write journal {self._path}"):
            trusted.write_file(self._new, self._fd, _coalesced(parts))
            os.rename(self._new, self._name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            self._mark = journal_format.mark(parts[0])
            os.fsync(self._fd)
        return size

    def acknowledge(self) -> None:
        """
        Mark the committed batch as acknowledged.

        Raises:
            StateError: The mark could not be written, so the batch will be sent again after a restart.

        """
        with _state_errors(f"write journal {self._path}"):
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._name, flags, dir_fd=self._fd)
            try:
                os.pwrite(fd, self._mark, journal_format.MARK_AT)
            finally:
                os.close(fd)

    def _lock_directory(self) -> int:
        with _state_errors(f"open state directory {self._directory}"):
            try:
                return path_lock.lock(self._directory, _open_directory)
            except BlockingIOError as error:
                raise StateError(
                    f"lock state directory {self._directory}",
                    f"in use by {error}",
                    "stop that sidecar, or name another directory with --state-dir",
                ) from None

    def _relock_if_removed(self) -> None:
        """Recreate and lock the directory if the locked one was removed or replaced."""
        if path_lock.leads_to(self._directory, self._fd):
            return
        recreated = self._lock_directory()
        os.close(self._fd)
        self._fd = recreated
        log.warning("state directory %s was removed: recreated", self._directory)
        if self.on_recreated:
            self.on_recreated()

    def _set_aside(self, error: Exception) -> Record:
        damaged = self._path.with_name(self._damaged)
        with _state_errors(f"rename damaged journal {self._path}"):
            os.rename(self._name, self._damaged, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        log.error(
            "cannot read journal %s: damaged (%s): kept as %s, starting without it",
            self._path,
            error,
            damaged,
        )
        return Record()


def _open_directory(directory: Path) -> int:
    trusted.make_directory(directory, 0o700)
    # The user chose the path, so it may be a symbolic link: systemd creates one for a dynamic user.
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextlib.contextmanager
def _state_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(what, explain(error), _REMEDY) from error


def _coalesced(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in parts: small ones joined to save writes, large ones uncopied to save memory."""
    buffered: list[bytes] = []
    size = 0
    for part in parts:
        if buffered and size + len(part) > _WRITE_BYTES:
            yield b"".join(buffered)
            buffered, size = [], 0
        buffered.append(part)
        size += len(part)
    yield b"".join(buffered)
