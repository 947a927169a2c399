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
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sidecar.errors import StateError, explain
from sidecar.kernel import path_lock, trusted
from sidecar.state import journal_format
from sidecar.state.record import Record

log = logging.getLogger(__name__)

LARGEST = 1 << 30
"""Bytes of a journal, at most: one of a million series with many fields has some hundred million."""

_WRITTEN_AT_ONCE = 256 * 1024

_NAME, _NEW, _ASIDE = "journal", "journal.new", "journal.damaged"
_REMEDY = "make it a writable directory with free space, or name another with --state-dir"


class Journal:
    """
    The journal in one state directory, locked against a second writer while it is open.

    The lock is on the directory itself, and all names are looked up in the one that is locked. Should it be
    removed meanwhile, the next commit makes and locks it again.

    Attributes:
        made_again: Called when that was done, to put back what else belongs there; may raise StateError.
        of_use: What of a record that is loaded is still of use; None: all of it.

    """

    def __init__(self, directory: Path) -> None:
        """
        Create and lock the directory.

        Raises:
            StateError: It cannot be written, or another sidecar uses it.

        """
        self._directory = directory
        self._path = directory / _NAME
        self._mark = b""
        self.made_again: Callable[[], None] | None = None
        self.of_use: Callable[[Record], Record] | None = None
        self._fd = self._locked()

    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def load(self) -> Record:
        """
        Return the record, or an empty one if there is none.

        What is damaged, or no file of ours, is set aside as `journal.damaged`, with an error in the log.

        Raises:
            StateError: The file cannot be read.

        """
        with _errors(f"read journal {self._path}"):
            try:
                data = trusted.read_file(_NAME, self._fd, LARGEST)
            except FileNotFoundError:
                return Record()
            except trusted.UntrustedError as error:
                return self._set_aside(error)
            # The last process may have ended between the renaming and this, and what we find will be sent.
            os.fsync(self._fd)
        try:
            record, acknowledged = journal_format.decode(data)
        except ValueError as error:
            return self._set_aside(error)
        self._mark = journal_format.mark(data)
        record = record.after_acknowledgement() if acknowledged else record
        return self.of_use(record) if self.of_use else record

    def commit(self, record: Record) -> int:
        """
        Replace the record, durably; return the size of the file, bytes.

        Raises:
            StateError: It could not be written, or not durably: nothing of it may be sent.

        """
        parts = journal_format.encode(record)
        size = sum(map(len, parts))
        if size > LARGEST:
            what, cause = f"write journal {self._path}", f"{size:,} bytes are more than it can have"
            raise StateError(what, cause, "have fewer series (--series-limit)")
        self._keep_locked()
        with _errors(f"write journal {self._path}"):
            trusted.write_file(_NEW, self._fd, _gathered(parts))
            os.rename(_NEW, _NAME, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            self._mark = journal_format.mark(parts[0])
            os.fsync(self._fd)
        return size

    def acknowledge(self) -> None:
        """
        Mark the committed batch as acknowledged.

        Raises:
            StateError: The mark could not be written; the batch would be sent again after a restart.

        """
        with _errors(f"write journal {self._path}"):
            fd = os.open(_NAME, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
            try:
                os.pwrite(fd, self._mark, journal_format.MARK_AT)
            finally:
                os.close(fd)

    def _locked(self) -> int:
        with _errors(f"open state directory {self._directory}"):
            try:
                return path_lock.lock(self._directory, _opened)
            except BlockingIOError as error:
                raise StateError(
                    f"lock state directory {self._directory}",
                    f"in use by {error}",
                    "stop that sidecar, or name another directory with --state-dir",
                ) from None

    def _keep_locked(self) -> None:
        """Lock the directory that is there now, if it is another one: somebody removed ours."""
        if path_lock.leads_to(self._directory, self._fd):
            return
        now = self._locked()
        os.close(self._fd)
        self._fd = now
        log.warning("state directory %s was removed: made again", self._directory)
        if self.made_again:
            self.made_again()

    def _set_aside(self, error: Exception) -> Record:
        aside = self._path.with_name(_ASIDE)
        with _errors(f"set damaged journal {self._path} aside"):
            os.rename(_NAME, _ASIDE, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        log.error("read journal %s: damaged (%s): kept as %s, starting without it", self._path, error, aside)
        return Record()


def _opened(directory: Path) -> int:
    trusted.make_directory(directory, 0o700)
    # The user named it, so it may be a link: systemd makes one for a dynamic user.
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextlib.contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(what, explain(error), _REMEDY) from error


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
