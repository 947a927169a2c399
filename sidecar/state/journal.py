# SPDX-License-Identifier: Apache-2.0
"""
The durable record: one frozen batch and the baselines around it, in one file.

A record is appended to the file, which has its blocks from the beginning, so that one flush of what was
written makes it durable. When the file is full, and for the first record of a process, a new file takes its
place: written to a temporary file, flushed, renamed, and the directory flushed. After a crash the last
complete record holds; one that was interrupted is ignored (docs/adr/0016). Invariants:

- A batch is sent only after `commit` has returned: what may have been counted is always on disk.
- The acknowledgement is a small mark within the file and is not flushed: if a power cut loses it, the same
  bytes are sent once more, and the receiver drops them as known.
- After an error no further record is appended: what the file holds in memory may not be on the disk.
- The file holds at most one batch that is not acknowledged, however long the Collector is unreachable.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from sidecar.errors import StateError, explain
from sidecar.kernel import path_lock, trusted
from sidecar.state import journal_format, journal_log
from sidecar.state.journal_blobs import Written
from sidecar.state.journal_file import JournalFile
from sidecar.state.record import Record

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 30
"""Largest journal that is written or read; a million series with many fields take a few hundred MB."""

FILE_BYTES = 256 * 1024
"""Size of a file with small records: 63 of them fit."""

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
        self._path_text = str(self._path)
        self._writing = _StateErrors(f"write journal {self._path}")
        self._file: JournalFile | None = None
        self._written = Written()
        self.on_recreated: Callable[[], None] | None = None
        self.retain: Callable[[Record], Record] | None = None
        self._fd = self._lock_directory()

    def close(self) -> None:
        """Release the lock."""
        self._use(None)
        os.close(self._fd)

    def load(self) -> Record:
        """
        Return the record, or an empty one if there is no journal.

        A file that is damaged or untrusted is renamed to `*.damaged`, with an error in the log.

        Raises:
            StateError: The file cannot be read.

        """
        with _StateErrors(f"read journal {self._path}"):
            try:
                data = trusted.read_file(self._name, self._fd, LARGEST_BYTES)
            except FileNotFoundError:
                return Record()
            except trusted.UntrustedError as error:
                return self._set_aside(error)
            # The last process may have been killed before it flushed the rename, and its batch will be sent.
            os.fsync(self._fd)
        try:
            loaded = journal_format.decode(data)
        except ValueError as error:
            return self._set_aside(error)
        record = loaded.record
        if loaded.found.acknowledged:
            record = record.after_acknowledgement()
        elif record.pending:
            self._reopen(data, loaded.found)
        return self.retain(record) if self.retain else record

    def commit(self, record: Record) -> int:
        """
        Write the record durably; return the size of the file in bytes.

        Raises:
            StateError: It could not be written durably, so its batch must not be sent.

        """
        file = self._file
        if file and file.is_at(self._path_text):
            payload, written = journal_format.encode(record, self._written)
            if file.has_room(payload):
                with self._writing:
                    file.append(payload)
                self._written = written
                return file.size
        return self._begin(record)

    def acknowledge(self) -> None:
        """
        Mark the committed batch as acknowledged.

        Raises:
            StateError: The mark could not be written, so the batch will be sent again after a restart.

        """
        with self._writing:
            if self._file:
                self._file.acknowledge()

    def _begin(self, record: Record) -> int:
        """Replace the file by a new one with this record."""
        payload, written = journal_format.encode(record, Written(small=self._written.small))
        size = 2 * journal_log.BLOCK + sum(map(len, payload))
        if size > LARGEST_BYTES:
            cause = f"its {size:,} bytes exceed the limit of {LARGEST_BYTES:,}"
            raise StateError(f"write journal {self._path}", cause, "lower --series-limit")
        self._relock_if_removed()
        with self._writing:
            file = JournalFile.create(self._new, self._fd, payload, FILE_BYTES, LARGEST_BYTES)
            try:
                os.rename(self._new, self._name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except OSError:
                file.close()
                raise
            self._use(file)
            try:
                os.fsync(self._fd)
            except OSError:
                file.fill()
                raise
            self._written = written
        return file.size

    def _reopen(self, data: bytes, found: journal_log.Found) -> None:
        """Have the batch of the last process on disk, before it is sent, and be able to mark it."""
        with self._writing:
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._name, flags, dir_fd=self._fd)
            file = JournalFile(fd, found.checksum, found.end, 0, 0)
            self._use(file)
            file.rewrite(data, found.start, found.end)

    def _use(self, file: JournalFile | None) -> None:
        if self._file:
            self._file.close()
        self._file = file

    def _lock_directory(self) -> int:
        with _StateErrors(f"open state directory {self._directory}"):
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
        self._use(None)  # it is in the other directory, which is no longer locked
        log.warning("state directory %s was removed: recreated", self._directory)
        if self.on_recreated:
            self.on_recreated()

    def _set_aside(self, error: Exception) -> Record:
        damaged = self._path.with_name(self._damaged)
        with _StateErrors(f"rename damaged journal {self._path}"):
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


class _StateErrors:
    """Makes an OSError of its block a StateError: no generator, since each cycle enters two."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise StateError(self._what, explain(error), _REMEDY) from error
