# SPDX-License-Identifier: Apache-2.0
"""
One sidecar an interface: two, each with its own state directory, would both report the same packets.

The lock is on the directory of the interface's pins: in bpffs, so it holds across network namespaces.
Only who holds the directory that the path leads to may open the map that is pinned in it.
"""

import os
from contextlib import suppress

from sidecar.errors import SourceError
from sidecar.kernel import path_lock, pins
from sidecar.kernel.interface import Interface
from sidecar.kernel.xdp import files_of_bpffs


class InterfaceLock:
    """An interface's lock; the kernel lets go of it when the process ends."""

    def __init__(self, interface: Interface) -> None:
        """Prepare only."""
        self._interface = interface
        self._what = f"attach XDP program to {interface.name}"
        self._fd: int | None = None

    def hold(self) -> None:
        """
        Hold the interface, also if somebody removed its pins, and the directory with them.

        Raises:
            SourceError: Another sidecar holds it.
            RightsError: Its directory cannot be made or opened, or is somebody else's.
            KernelError: There is no bpffs.

        """
        if self._holds():
            return
        self.close()
        path = self._interface.pin_directory
        with files_of_bpffs(self._what), pins.changing(self._what):
            try:
                self._fd = path_lock.lock(path, pins.directory)
            except BlockingIOError as error:
                remedy = f"stop that one, or read its map with --map-path {self._interface.map_pin}"
                cause = f"another sidecar counts there ({error})"
                raise SourceError(self._what, cause, remedy) from None

    def opened_ours(self) -> None:
        """Raise SourceError if what was just opened may be in a directory that is not the one held."""
        if not self._holds():
            cause = f"somebody removed {self._interface.pin_directory} meanwhile"
            raise SourceError(self._what, cause, "it is tried again")

    def close(self) -> None:
        """Let go of it, and leave no directory if nothing was pinned there."""
        if self._fd is not None:
            if self._holds():
                with suppress(OSError):
                    self._interface.pin_directory.rmdir()
            os.close(self._fd)
            self._fd = None

    def _holds(self) -> bool:
        return self._fd is not None and path_lock.leads_to(self._interface.pin_directory, self._fd)
