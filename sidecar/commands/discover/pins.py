# SPDX-License-Identifier: Apache-2.0
"""Walk every mounted bpffs for pinned objects."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.kernel import syscall as bpf
from sidecar.kernel.pins import open_object

_MOST_PINS = 10_000
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Pin:
    """A pinned object; *id* is 0 unless it is a map."""

    path: Path
    kind: str
    id: int


@dataclass
class Walk:
    """
    The result of a walk.

    Attributes:
        pins: The pinned objects that could be opened.
        refused: Pins and directories that we may not open.
        cut: Whether the walk stopped at a limit of number or depth.

    """

    pins: list[Pin] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)
    cut: bool = False


def walk(mounts: list[Path] | None = None) -> Walk:
    """Return the pins in *mounts*; by default in every bpffs of this mount namespace."""
    found = Walk()
    seen: set[tuple[int, int]] = set()
    for mount in bpffs_mounts() if mounts is None else mounts:
        for path in _files(mount, found, 0):
            try:
                status = path.stat(follow_symlinks=False)
            except OSError:
                continue  # removed meanwhile
            if (status.st_dev, status.st_ino) in seen:
                continue  # the same bpffs, mounted twice
            seen.add((status.st_dev, status.st_ino))
            if len(seen) > _MOST_PINS:
                found.cut = True
                return found
            _add_pin(path, found)
    return found


def bpffs_mounts(mountinfo: str | None = None) -> list[Path]:
    """Return the mount points of bpffs from /proc/self/mountinfo (proc(5)), which escapes spaces in octal."""
    # Paths are bytes and need not be UTF-8.
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
        return  # removed meanwhile
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth < _MAX_DEPTH:
                yield from _files(Path(entry.path), found, depth + 1)
            else:
                found.cut = True
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _add_pin(path: Path, found: Walk) -> None:
    try:
        with opened(path) as (fd, kind):
            found.pins.append(Pin(path, kind, bpf.map_info(fd).id if kind == "map" else 0))
    except PermissionError:
        found.refused.append(path)
    except OSError:
        return  # removed meanwhile, or a bpf_iter file such as maps.debug
