# SPDX-License-Identifier: Apache-2.0
"""Keep the map of one source open, and follow it when another map takes its place."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sidecar import bpf_reader
from sidecar import bpf_syscall as bpf
from sidecar.errors import SidecarError, from_os_error
from sidecar.model import Attribute, Layout, MapIdentity, Snapshot

log = logging.getLogger(__name__)

Locate = Callable[[], int]
"""Open the source's present map and return its file descriptor; raise SidecarError if that cannot be done."""

Born = Callable[[int], int]
"""Return since when the map with an id counts, Unix ns."""


class Source:
    """
    One map that counts come from, by the place it was found at.

    Attributes:
        name: Names the source in the log and in the journal; the same after a restart.
        attributes: Attributes of all its points.

    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        locate: Locate,
        born: Born,
        *,
        attributes: tuple[Attribute, ...] = (),
        follow: bool = True,
    ) -> None:
        """Prepare only; with *follow*, each read asks *locate* whether a new map has taken the place."""
        self.name = name
        self.attributes = attributes
        self._layout = layout
        self._locate = locate
        self._born = born
        self._follow = follow
        self._maps: list[OpenMap] = []
        self._trouble = ""

    def open(self) -> bpf.MapInfo:
        """Open the map; raise SidecarError if it is not there or cannot be read."""
        fd = self._locate()
        info = bpf.map_info(fd)
        self._maps = [OpenMap(fd, info, self._born(info.id))]
        return info

    def read(self) -> Sequence[Snapshot]:
        """
        Return a snapshot of the map, and before it one of each earlier map that is still held.

        Raises:
            SidecarError: A map could not be read; then nothing is returned.

        """
        if self._follow:
            self._look_for_successor()
        return [held.read(self._layout) for held in self._maps]

    def release(self, reported: MapIdentity) -> None:
        """Let go of the maps before *reported*: all that they had counted is acknowledged."""
        if any(held.identity == reported for held in self._maps):
            while self._maps[0].identity != reported:
                self._maps.pop(0).close()

    def close(self) -> None:
        """Close everything."""
        while self._maps:
            self._maps.pop().close()

    def _look_for_successor(self) -> None:
        try:
            fd = self._locate()
        except SidecarError as error:
            if str(error) != self._trouble:
                log.warning("%s; going on with the map that is open", error)
            self._trouble = str(error)
            return
        self._trouble = ""
        found, present = bpf.map_info(fd), self._maps[-1].info
        if found.id == present.id:
            os.close(fd)
            return
        log.warning("%s: map id %d took the place of id %d", self.name, found.id, present.id)
        self._maps.append(OpenMap(fd, found, self._born(found.id)))


class OpenMap:
    """A map that is held open: it lives as long as we hold it, whoever else lets go."""

    def __init__(self, fd: int, info: bpf.MapInfo, born_ns: int) -> None:
        """Take over *fd*; *born_ns* is Unix time."""
        self._fd = fd
        self._born_ns = born_ns
        self.info = info
        self.identity = MapIdentity(
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            map_id=self.info.id,
            type=self.info.type,
            key_size=self.info.key_size,
            value_size=self.info.value_size,
            max_entries=self.info.max_entries,
        )

    def read(self, layout: Layout) -> Snapshot:
        """Return a snapshot; raise KernelError if the kernel refuses, never a snapshot of zeros."""
        taken_ns = time.time_ns()
        try:
            totals = bpf_reader.read(self._fd, self.info, layout)
        except OSError as error:
            raise from_os_error(
                f"read map {self.info.name} (id {self.info.id})",
                error,
                rights="run with CAP_BPF",
                otherwise="nothing is sent for it until it can be read",
            ) from error
        return Snapshot(self.identity, self._born_ns, taken_ns, totals)

    def close(self) -> None:
        """Let the map go."""
        os.close(self._fd)
