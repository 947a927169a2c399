# SPDX-License-Identifier: Apache-2.0
"""One sidecar an interface: two, each with its own state directory, would both report the same packets."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.errors import RightsError, SourceError, explain
from sidecar.xdp import Interface


@contextmanager
def held(interface: Interface) -> Iterator[None]:
    """
    Hold an attached interface while the block runs; the kernel lets go of it when the process ends.

    Raises:
        SourceError: Another sidecar holds it.
        RightsError: Its pins cannot be opened.

    """
    what = f"attach XDP program to {interface.name}"
    try:
        fd = os.open(interface.pin_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RightsError(what, f"open {interface.pin_directory}: {explain(error)}", "run as root") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = f"stop that one, or read its map with --map-path {interface.map_pin}"
            raise SourceError(what, "another sidecar counts there", remedy) from None
        yield
    finally:
        os.close(fd)
