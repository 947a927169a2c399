# SPDX-License-Identifier: Apache-2.0
"""Walk every mounted bpffs for pinned objects."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.kernel import syscall as bpf

# Kinds of pins by the name of their file descriptor (kernel/bpf/syscall.c, `anon_inode_getfd`).
_KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf-link": "link", "bpf_link": "link"}
_MOST_PINS = 10_000
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
    """Open the pin at *path*, read-only if possible; yield its file descriptor and kind; raise OSError."""
    try:
        fd = bpf.obj_get(str(path), readonly=True)
    except OSError as error:
        # Programs and links cannot be opened read-only (kernel/bpf/inode.c, `bpf_obj_get_user`).
        if error.errno != errno.EINVAL:
            raise
        fd = bpf.obj_get(str(path))
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        yield fd, _KINDS.get(name.removeprefix("anon_inode:"), "object")
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
            if depth < _DEEPEST:
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
