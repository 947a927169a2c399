# SPDX-License-Identifier: Apache-2.0
"""
Remember outside the state directory which maps have been reported: in bpffs, which lives as long as they do.

Without it a lost journal could not be told from a first start, and all that a map holds would be sent a
second time. A mark is an empty directory, which needs no capability, only write permission. Its name has the
birth of the series, which cannot be found again once the wall clock was stepped. Others may be able to make
marks too: only those of root and of our own user count.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import NamedTuple

from sidecar.kernel import syscall as bpf
from sidecar.kernel import trusted
from sidecar.kernel.pins import MODE, PIN_ROOT

MOST = 1024
"""How many marks stay where nobody tells which of their maps have ended."""

# No interface's directory has such a name: it has fewer letters.
_NAME = re.compile(r"reported-([1-9][0-9]{0,9})-([0-9]{5,19})", re.ASCII)
_LATEST_NS = 1 << 63
_MOST_LOOKED_AT = 1 << 16


class _Mark(NamedTuple):
    map_id: int
    start_time_ns: int
    name: str
    made_ns: int


def mark(map_id: int, start_time_ns: int) -> None:
    """Remember that a map is being reported, in series born then; raise OSError if that cannot be done."""
    trusted.make_directory(PIN_ROOT, MODE)
    with _root() as root:
        marks = list(_marks(root))
        if all(one.map_id != map_id for one in marks):
            _sweep(root, marks)
            os.mkdir(f"reported-{map_id}-{start_time_ns}", 0o700, dir_fd=root)


def start_time_ns(map_id: int) -> int | None:
    """Return since when the series of a map count, Unix ns, or None if it was never reported."""
    try:
        with _root() as root:
            return min((one.start_time_ns for one in _marks(root) if one.map_id == map_id), default=None)
    except OSError:
        return None  # nor can we make any, which `mark` tells


def forget(map_id: int) -> None:
    """Remove the mark of a map that ends."""
    with suppress(OSError), _root() as root:
        _remove(root, (one for one in _marks(root) if one.map_id == map_id))


@contextmanager
def _root() -> Iterator[int]:
    root = trusted.open_directory(PIN_ROOT)
    try:
        yield root
    finally:
        os.close(root)


def _marks(root: int) -> Iterator[_Mark]:
    """Yield the marks that are ours, and can be marks."""
    owners = trusted.owners()
    with os.scandir(root) as entries:
        names = [entry.name for entry in islice(entries, _MOST_LOOKED_AT)]
    for name in names:
        said = _NAME.fullmatch(name)
        if not said:
            continue
        with suppress(FileNotFoundError):  # another sidecar swept it
            found = os.stat(name, dir_fd=root, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) and found.st_uid in owners and int(said[2]) < _LATEST_NS:
                yield _Mark(int(said[1]), int(said[2]), name, found.st_mtime_ns)


def _sweep(root: int, marks: list[_Mark]) -> None:
    """Remove the marks of maps that have ended; where that cannot be known, the oldest of too many."""
    try:
        ended = [one for one in marks if _has_ended(one.map_id)]
    except OSError:  # maps are looked up by id with CAP_SYS_ADMIN only
        ended = sorted(marks, key=lambda one: one.made_ns)[: max(0, len(marks) + 1 - MOST)]
    _remove(root, ended)


def _has_ended(map_id: int) -> bool:
    try:
        os.close(bpf.map_fd_by_id(map_id))
    except FileNotFoundError:
        return True
    return False


def _remove(root: int, marks: Iterable[_Mark]) -> None:
    for one in marks:
        with suppress(OSError):  # another sidecar was faster, or somebody put something into it
            os.rmdir(one.name, dir_fd=root)
