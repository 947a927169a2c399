# SPDX-License-Identifier: Apache-2.0
"""
Files and directories in places where others may write: nothing is taken for ours by its name alone.

No symbolic link is followed, nothing is waited for (a FIFO has no end), and nothing is read that is larger
than it can be. Who calls adds the object and the remedy to an OSError.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ROOT = 0
# What opening a symbolic link, or a socket, comes to.
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO)


class UntrustedError(ValueError):
    """What is there is not a file of ours; the message says why."""


def owners(directory_fd: int | None = None) -> frozenset[int]:
    """Return whose files are taken for ours; in a directory that the user named, its owner's too."""
    ours = {_ROOT, os.geteuid()}
    return frozenset(ours if directory_fd is None else ours | {os.fstat(directory_fd).st_uid})


def make_directory(path: Path, mode: int) -> None:
    """Make a directory with this mode, whatever the umask, and what is missing above it with 0755."""
    try:
        _make(path, mode)
    except FileNotFoundError:
        for above in reversed(path.parents):
            _make(above, 0o755)
        _make(path, mode)


def _make(path: Path, mode: int) -> None:
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        path.chmod(mode)


def open_directory(path: Path) -> int:
    """Open a directory, to lock it and to reach what is in it; a symbolic link is refused (ENOTDIR)."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def read_file(name: str, directory_fd: int, largest: int) -> bytes:
    """
    Return what a file in an open directory holds.

    Raises:
        UntrustedError: It is no regular file, somebody else's, or of more than *largest* bytes.
        OSError: It is not there, or cannot be read.

    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise UntrustedError("not a regular file") from None
        raise
    try:
        found = os.fstat(fd)
        _check(found, directory_fd, largest)
        return _read(fd, found.st_size)
    finally:
        os.close(fd)


def _check(found: os.stat_result, directory_fd: int, largest: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedError("not a regular file")
    if found.st_uid not in owners(directory_fd):
        raise UntrustedError(f"it belongs to user {found.st_uid}")
    if found.st_size > largest:
        raise UntrustedError(f"{found.st_size:,} bytes are more than it can have")


def _read(fd: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_file(name: str, directory_fd: int, parts: Iterable[bytes]) -> None:
    """
    Write a file of ours anew in an open directory, durably; raise OSError, and leave nothing, if that fails.

    It is made, never opened: whatever had the name makes room.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory_fd)
    try:
        os.fchmod(fd, 0o600)
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(fd, view) :]
        os.fsync(fd)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
        raise
    finally:
        os.close(fd)
