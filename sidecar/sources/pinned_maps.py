# SPDX-License-Identifier: Apache-2.0
"""
The pins that a shell pattern stands for: `/sys/fs/bpf/*/stats`.

bpffs sends no inotify events (kernel/bpf/inode.c pins without fsnotify), and listing it is cheap, so it is
listed before each cycle.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar.describe import globs
from sidecar.describe.spec import SourceSpec
from sidecar.errors import from_os_error
from sidecar.kernel import pins
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.sources.pattern import Pattern

_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class PinnedMaps(Pattern):
    """The maps pinned under matching paths; other objects, and maps of other kinds, are passed over."""

    def __init__(self, spec: SourceSpec) -> None:
        """Look at nothing yet."""
        super().__init__(spec)
        # Whether a pin is a map that can be read, by path and file: a file of bpffs stays the same object.
        self._readable: dict[tuple[str, tuple[int, ...]], bool] = {}

    def members(self) -> Sequence[SourceSpec]:
        """Return the pins that there are now; raise SidecarError if a directory cannot be listed."""
        pattern = self.spec.map_ref.value
        found = []
        readable = {}
        for path in _paths("", [part for part in pattern.split("/") if part]):
            matches = globs.matched(pattern, path)
            file = _file(path)
            if matches is None or file is None:
                continue
            known = self._readable.get((path, file))
            readable[path, file] = _is_readable_map(path) if known is None else known
            if readable[path, file]:
                found.append(self._member(matches))
        self._readable = readable
        return found

    def _member(self, matches: Sequence[str]) -> SourceSpec:
        attributes = self.spec.attributes
        return replace(
            self.spec,
            map_ref=replace(self.spec.map_ref, value=matches[0], is_member=True),
            attributes=globs.filled(attributes, matches),
            apart=not globs.has_placeholders(attributes),
        )


def _paths(directory: str, parts: Sequence[str]) -> Iterator[str]:
    head, *rest = parts
    if not globs.is_glob(head):
        yield from _paths(f"{directory}/{head}", rest) if rest else (f"{directory}/{head}",)
        return
    for name in _names(directory or "/"):
        if globs.matched(head, name):
            yield from _paths(f"{directory}/{name}", rest) if rest else (f"{directory}/{name}",)


def _names(directory: str) -> Sequence[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208
    except _NOT_THERE:
        return ()
    except OSError as error:
        rights = f"{remedy(Capability.DAC_READ_SEARCH)}; or get read permission on it"
        raise from_os_error(f"list {directory}", error, rights=rights, otherwise="name the pins") from error


def _file(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # cheaper, and runs each cycle
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _is_readable_map(path: str) -> bool:
    """Return whether a pin is a map of a kind that is read, or may be one that we may not open."""
    try:
        fd, kind = pins.open_object(Path(path))
    except _NOT_THERE:
        return False
    except OSError:
        return not Path(path).is_dir()
    try:
        return kind == "map" and bpf.map_info(fd).kind.is_readable
    finally:
        os.close(fd)
