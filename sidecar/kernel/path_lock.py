# SPDX-License-Identifier: Apache-2.0
"""
Lock a directory by its path (flock(2)); the kernel releases the lock when the process ends.

A lock belongs to an inode, and a path may later lead to another inode. A process that acquires the lock
therefore checks that the path still leads to what is locked, and one that keeps it for long checks again.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

_RETRY_S = 0.02
_LOCKS = Path("/proc/locks")


def lock(path: Path, open_it: Callable[[Path], int], *, timeout_s: float = 0.0) -> int:
    """
    Open and lock what *path* leads to; return the file descriptor, which holds the lock.

    Raises:
        BlockingIOError: Another process has held it for *timeout_s* seconds; the message names the process.
        OSError: The directory cannot be opened.

    """
    deadline = time.monotonic() + timeout_s
    while True:
        fd = open_it(path)
        try:
            if try_lock(fd):
                if leads_to(path, fd):
                    return fd
            elif time.monotonic() >= deadline:
                raise BlockingIOError(holder(fd))
            else:
                time.sleep(_RETRY_S)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Lock an open directory; return False if another process holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def leads_to(path: Path, fd: int) -> bool:
    """Return whether *path* still leads to the directory that is open as *fd*."""
    try:
        present = path.stat()
    except OSError:
        return False
    return os.path.samestat(present, os.fstat(fd))


def holder(fd: int) -> str:
    """Return the holder of the lock on *fd*, as `process 41`; without number if in another PID namespace."""
    inode = os.fstat(fd)
    device = f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}:{inode.st_ino}"
    try:
        locks = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        locks = []
    # 1: FLOCK ADVISORY WRITE 41 00:27:86506 0 EOF
    pid = next((fields[4] for fields in locks if fields[1] == "FLOCK" and device in fields), None)
    return f"process {pid}" if pid else "another process"
