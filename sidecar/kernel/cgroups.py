# SPDX-License-Identifier: Apache-2.0
"""
The paths of cgroups by their ids, as `bpf_get_current_cgroup_id` and `bpf_skb_cgroup_id` return them.

The id of a cgroup of version 2 is the inode number of its directory (include/linux/kernfs.h, `kernfs_ino`; on
64-bit kernels). So a walk over the mounted hierarchy finds it, and anybody may do that; open_by_handle_at(2)
would find it at once, but requires CAP_DAC_READ_SEARCH.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
# Each id that is not there costs a walk, which takes 1 ms for 100 cgroups.
_LEAST_S_BETWEEN_WALKS = 10.0
# Ids whose cgroups are gone are remembered up to this number.
_MOST_REMEMBERED = 65_536


class CgroupPaths:
    """The cgroups of this machine, as far as they can be seen in the sidecar's mounts."""

    def __init__(self) -> None:
        """Walk on first use."""
        self._walked_at = float("-inf")
        self._paths: dict[int, str] = {}
        self._seen: dict[int, str] = {}

    def path(self, cgroup_id: int) -> str | None:
        """Return the path below the mount, `/system.slice/sshd.service`, as first seen; None if unknown."""
        found = self._seen.get(cgroup_id) or self._current(cgroup_id)
        if found and cgroup_id not in self._seen:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen[cgroup_id] = found
        return found

    def _current(self, cgroup_id: int) -> str | None:
        now = time.monotonic()
        if cgroup_id not in self._paths and now >= self._walked_at + _LEAST_S_BETWEEN_WALKS:
            self._walked_at = now
            self._paths = {}
            for root in _roots():
                # Paths begin at the root of a cgroup namespace, in the host's mount above it: the longest.
                for number, path in _walk(root):
                    if len(path) > len(self._paths.get(number, "")):
                        self._paths[number] = path
        return self._paths.get(cgroup_id)


def _roots() -> Iterator[str]:
    """Yield where cgroups of version 2 are mounted."""
    with suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            _, where, kind, *_ = line.split()
            if kind == "cgroup2":
                yield where.encode().decode("unicode_escape")


def _walk(root: str) -> Iterator[tuple[int, str]]:
    """Yield the id and the path of each cgroup; one that is removed meanwhile is left out."""
    with suppress(OSError):
        yield Path(root).stat().st_ino, "/"
    pending = [""]
    while pending:
        parent = pending.pop()
        with suppress(OSError), os.scandir(root + parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{parent}/{entry.name}")
                    yield entry.inode(), pending[-1]
