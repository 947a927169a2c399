# SPDX-License-Identifier: Apache-2.0
"""
Lock a directory by its path (flock(2)); the kernel lets go of it when the process ends.

A lock is on an inode, and a path may come to lead to another one. So who has got the lock looks whether the
path still leads to what is locked, and who holds it for long looks again.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

_TURN_S = 0.02
_LOCKS = Path("/proc/locks")


def lock(path: Path, open_it: Callable[[Path], int], *, patience_s: float = 0.0) -> int:
    """
    Open and lock what *path* leads to; return the file descriptor, which is the lock.

    Raises:
        BlockingIOError: Another process holds it, and did for *patience_s* seconds; the message says which.
        OSError: It cannot be opened.

    """
    deadline = time.monotonic() + patience_s
    while True:
        fd = open_it(path)
        try:
            if try_lock(fd):
                if leads_to(path, fd):
                    return fd
            elif time.monotonic() >= deadline:
                raise BlockingIOError(holder(fd))
            else:
                time.sleep(_TURN_S)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Lock what is open; return False if another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def leads_to(path: Path, fd: int) -> bool:
    """Return whether *path* leads to what is open."""
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def holder(fd: int) -> str:
    """Return who holds the lock on what is open, `process 41`; in another PID namespace it has no number."""
    inode = os.fstat(fd)
    device = f"{os.major(inode.st_dev):02x}:{os.minor(inode.st_dev):02x}:{inode.st_ino}"
    try:
        held = [line.split() for line in _LOCKS.read_text().splitlines()]
    except OSError:
        held = []
    # 1: FLOCK ADVISORY WRITE 41 00:27:86506 0 EOF
    found = next((line[4] for line in held if line[1] == "FLOCK" and device in line), None)
    return f"process {found}" if found else "another process"
