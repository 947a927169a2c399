# SPDX-License-Identifier: Apache-2.0
"""
Files and directories in places where others may write: no entry is taken for ours by its name alone.

Symbolic links are not followed, nothing blocks (a FIFO never ends), and no file is read that is larger than
it can be. OSErrors pass through: the caller adds the object and the remedy.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ROOT = 0
# The answers to opening a symbolic link or a socket.
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO)


class UntrustedError(ValueError):
    """The entry is not a file of ours; the message says why."""


def owners(directory_fd: int | None = None) -> frozenset[int]:
    """Return the users whose files are trusted; in a directory that the user named, its owner's as well."""
    ours = {_ROOT, os.geteuid()}
    return frozenset(ours if directory_fd is None else ours | {os.fstat(directory_fd).st_uid})


def make_directory(path: Path, mode: int) -> None:
    """Create a directory with *mode* whatever the umask, and its missing parents with 0755."""
    try:
        _make(path, mode)
    except FileNotFoundError:
        for parent in reversed(path.parents):
            _make(parent, 0o755)
        _make(path, mode)


def _make(path: Path, mode: int) -> None:
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        path.chmod(mode)


def open_directory(path: Path) -> int:
    """Open a directory, to lock it and to reach its entries; a symbolic link is refused (ENOTDIR)."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def read_file(name: str, directory_fd: int, largest: int) -> bytes:
    """
    Return the content of a file in an open directory.

    Raises:
        UntrustedError: It is not a regular file, belongs to someone else, or has more than *largest* bytes.
        OSError: It does not exist or cannot be read.

    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise UntrustedError("not a regular file") from None
        raise
    try:
        status = os.fstat(fd)
        _check(status, directory_fd, largest)
        return _read(fd, status.st_size)
    finally:
        os.close(fd)


def _check(status: os.stat_result, directory_fd: int, largest: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedError("not a regular file")
    if status.st_uid not in owners(directory_fd):
        raise UntrustedError(f"it belongs to user {status.st_uid}")
    if status.st_size > largest:
        raise UntrustedError(f"{status.st_size:,} bytes are more than it can have")


def _read(fd: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_file(name: str, directory_fd: int, parts: Iterable[bytes]) -> None:
    """Write a new file as `create_file` does, and close it."""
    os.close(create_file(name, directory_fd, parts))


def create_file(name: str, directory_fd: int, parts: Iterable[bytes]) -> int:
    """
    Write a new file of ours in an open directory, durably; return its descriptor, open for writing.

    The file is always created, never opened: whatever had the name is removed first. Raises OSError, and
    leaves no file, if that fails.
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
        os.close(fd)
        with suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
        raise
    return fd
