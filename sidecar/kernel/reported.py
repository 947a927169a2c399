# SPDX-License-Identifier: Apache-2.0
"""
Remember outside the state directory which maps have been reported: in bpffs, which lives as long as they do.

Without this, a lost journal would look like a first start, and the full content of a map would be exported a
second time. A mark is an empty directory, which takes write permission but no capability. Its name holds the
start time of the series, which cannot be recomputed once the wall clock has been stepped. Beside it, a
symbolic link to each state directory from which the map was reported tells a lost journal from another one.
Others may be able to create entries as well: only those of root and of our own user count.
"""

import os
import re
import stat
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sidecar.kernel import syscall as bpf
from sidecar.kernel import trusted
from sidecar.kernel.pins import MODE, PIN_ROOT

MOST = 1024
"""How many marks are kept where it cannot be known which of their maps have ended."""

# No interface has a directory with such a name: interface names are shorter.
_MARK = re.compile(r"reported-([1-9][0-9]{0,9})-([0-9]{5,19})", re.ASCII)
# A version that knows no links takes no notice of them.
_LINK = re.compile(r"reported-([1-9][0-9]{0,9})-by-[0-9a-f]{8}", re.ASCII)
_LATEST_NS = 1 << 63
_MOST_ENTRIES = 1 << 16


class _Mark(NamedTuple):
    map_id: int
    start_time_ns: int
    name: str
    made_ns: int


def mark(map_id: int, start_time_ns: int, state_dir: Path | None = None) -> None:
    """
    Remember that a map is reported, in series that start at *start_time_ns*, Unix ns.

    The first mark of a map stays; each *state_dir* is added to it. Raises OSError if no mark can be made.
    """
    trusted.make_directory(PIN_ROOT, MODE)
    with _root() as root:
        marks = list(_marks(root))
        if all(mark.map_id != map_id for mark in marks):
            _sweep(root, marks)
            os.mkdir(f"reported-{map_id}-{start_time_ns}", 0o700, dir_fd=root)
        if state_dir:
            _add_state_dir(root, map_id, state_dir)


def _add_state_dir(root: int, map_id: int, state_dir: Path) -> None:
    name = f"reported-{map_id}-by-{zlib.crc32(os.fsencode(state_dir)):08x}"
    # What it is for is only shown: a mark without it protects as well.
    with suppress(OSError):
        os.symlink(state_dir, name, dir_fd=root)


def start_time_ns(map_id: int) -> int | None:
    """Return the start time of a map's series, Unix ns, or None if the map was never reported."""
    try:
        with _root() as root:
            return min((mark.start_time_ns for mark in _marks(root) if mark.map_id == map_id), default=None)
    except OSError:
        return None  # no mark can be made either, and `mark` reports that


def state_dirs(map_id: int) -> list[Path]:
    """Return the state directories from which a map was reported, as far as they are known."""
    try:
        with _root() as root:
            return sorted(Path(os.readlink(name, dir_fd=root)) for name in _links(root, {map_id}))
    except OSError:
        return []  # another sidecar is removing them


def forget(map_id: int) -> None:
    """Remove the marks of a map that ends."""
    with suppress(OSError), _root() as root:
        _remove(root, {map_id})


@contextmanager
def _root() -> Iterator[int]:
    root = trusted.open_directory(PIN_ROOT)
    try:
        yield root
    finally:
        os.close(root)


def _marks(root: int) -> Iterator[_Mark]:
    """Yield the valid marks of ours."""
    for match, status in _entries(root, _MARK, stat.S_ISDIR):
        if int(match[2]) < _LATEST_NS:
            yield _Mark(int(match[1]), int(match[2]), match[0], status.st_mtime_ns)


def _links(root: int, map_ids: Collection[int]) -> list[str]:
    """Return the names of the links of these maps."""
    return [match[0] for match, _ in _entries(root, _LINK, stat.S_ISLNK) if int(match[1]) in map_ids]


def _entries(
    root: int, pattern: re.Pattern[str], is_kind: Callable[[int], bool]
) -> Iterator[tuple[re.Match[str], os.stat_result]]:
    """Yield the entries of one kind whose names match, and that are ours."""
    owners = trusted.owners()
    with os.scandir(root) as entries:
        names = [entry.name for entry in islice(entries, _MOST_ENTRIES)]
    for name in names:
        match = pattern.fullmatch(name)
        if not match:
            continue
        with suppress(FileNotFoundError):  # another sidecar removed it
            status = os.stat(name, dir_fd=root, follow_symlinks=False)
            if is_kind(status.st_mode) and status.st_uid in owners:
                yield match, status


def _sweep(root: int, marks: list[_Mark]) -> None:
    """Remove the marks of maps that have ended, or, where that cannot be known, the oldest beyond `MOST`."""
    try:
        ended = {mark.map_id for mark in marks if _has_ended(mark.map_id)}
    except OSError:  # looking up a map by id needs CAP_SYS_ADMIN
        oldest = sorted(marks, key=lambda mark: mark.made_ns)[: max(0, len(marks) + 1 - MOST)]
        ended = {mark.map_id for mark in oldest}
    _remove(root, ended)


def _has_ended(map_id: int) -> bool:
    try:
        os.close(bpf.map_fd_by_id(map_id))
    except FileNotFoundError:
        return True
    return False


def _remove(root: int, map_ids: Collection[int]) -> None:
    """Remove all that is kept of these maps, the marks last."""
    for link in _links(root, map_ids):
        with suppress(OSError):  # another sidecar was faster
            os.unlink(link, dir_fd=root)
    for mark in _marks(root):
        if mark.map_id in map_ids:
            with suppress(OSError):  # the same, or it is not empty
                os.rmdir(mark.name, dir_fd=root)
