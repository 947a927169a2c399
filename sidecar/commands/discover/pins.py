# SPDX-License-Identifier: Apache-2.0
"""Find what is pinned, in every bpffs that is mounted here."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.kernel import syscall as bpf
from sidecar.kernel.pins import open_object

_MOST = 10_000
_DEEPEST = 8


@dataclass(frozen=True)
class Pin:
    """A pinned object; *id* is 0 unless it is a map."""

    path: Path
    kind: str
    id: int


@dataclass
class Walk:
    """
    What a walk found.

    Attributes:
        pins: The objects that could be opened.
        refused: Pins and directories that may not be opened.
        cut: There was more than a walk looks at.

    """

    pins: list[Pin] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)
    cut: bool = False


def walk(mounts: list[Path] | None = None) -> Walk:
    """Return what is pinned in *mounts*; by default in every bpffs of this mount namespace."""
    found = Walk()
    seen: set[tuple[int, int]] = set()
    for mount in bpffs_mounts() if mounts is None else mounts:
        for path in _files(mount, found, 0):
            try:
                at = path.stat(follow_symlinks=False)
            except OSError:
                continue  # gone while we looked
            if (at.st_dev, at.st_ino) in seen:
                continue  # the same bpffs, mounted twice
            seen.add((at.st_dev, at.st_ino))
            if len(seen) > _MOST:
                found.cut = True
                return found
            _look(path, found)
    return found


def bpffs_mounts(mountinfo: str | None = None) -> list[Path]:
    """Return where bpffs is mounted, by /proc/self/mountinfo (proc(5)), which escapes spaces in octal."""
    # Paths are bytes: that of any mount may be no UTF-8.
    text = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()) if mountinfo is None else mountinfo
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ")[0] == "bpf":
            where = before.split(" ")[4]
            mounts.append(Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), where)))
    return mounts


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, str]]:
    """Open what is pinned at *path*, as read-only as may be, and yield it with its kind; raise OSError."""
    fd, kind = open_object(path)
    try:
        yield fd, kind
    finally:
        os.close(fd)


def _files(directory: Path, found: Walk, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except PermissionError:
        found.refused.append(directory)
        return
    except OSError:
        return  # gone while we looked
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth < _DEEPEST:
                yield from _files(Path(entry.path), found, depth + 1)
            else:
                found.cut = True
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _look(path: Path, found: Walk) -> None:
    try:
        with opened(path) as (fd, kind):
            found.pins.append(Pin(path, kind, bpf.map_info(fd).id if kind == "map" else 0))
    except PermissionError:
        found.refused.append(path)
    except OSError:
        return  # gone while we looked, or an iterator of the kernel's own
