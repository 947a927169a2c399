# SPDX-License-Identifier: Apache-2.0
"""
One sidecar per interface: two sidecars, each with its own state directory, would report the same packets.

The lock is on the directory of the interface's pins, in bpffs, so it holds across network namespaces.
Only the process that has locked the directory at this path may open the map pinned in it.
"""

import os
from contextlib import suppress

from sidecar.errors import SourceError
from sidecar.kernel import path_lock, pins
from sidecar.kernel.interface import Interface


class InterfaceLock:
    """The lock of an interface; the kernel releases it when the process ends."""

    def __init__(self, interface: Interface) -> None:
        """Acquire nothing yet."""
        self._interface = interface
        self._what = f"attach to {interface.name}"
        self._fd: int | None = None

    def acquire(self) -> None:
        """
        Acquire the lock, again if the interface's pins were removed and their directory with them.

        Raises:
            SourceError: Another sidecar holds it.
            RightsError: The directory cannot be created or opened, or belongs to another user.
            KernelError: There is no bpffs.

        """
        if self._is_held():
            return
        self.close()
        path = self._interface.pin_directory
        with pins.file_errors(self._what), pins.changing(self._what):
            try:
                self._fd = path_lock.lock(path, pins.directory)
            except BlockingIOError as error:
                remedy = f"stop it, or read its map with --map-path {self._interface.map_pin}"
                cause = f"another sidecar counts there ({error})"
                raise SourceError(self._what, cause, remedy) from None

    def require_held(self) -> None:
        """Raise SourceError if the locked directory is not the one in which a pin was just opened."""
        if not self._is_held():
            cause = f"another process removed {self._interface.pin_directory} meanwhile"
            raise SourceError(self._what, cause, "try again")

    def close(self) -> None:
        """Release the lock, and remove the directory if nothing was pinned in it."""
        if self._fd is not None:
            if self._is_held():
                with suppress(OSError):
                    self._interface.pin_directory.rmdir()
            os.close(self._fd)
            self._fd = None

    def _is_held(self) -> bool:
        return self._fd is not None and path_lock.leads_to(self._interface.pin_directory, self._fd)
