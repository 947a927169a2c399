# SPDX-License-Identifier: Apache-2.0
"""Step into a network namespace and back."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.capabilities import Capability, remedy
from sidecar.errors import KernelError, RightsError, SourceError, explain

_CLONE_NEWNET = 0x40000000
# os.setns came with Python 3.12.
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def entered(netns: str | None) -> Iterator[None]:
    """
    Run the block in a network namespace: a name as `ip netns` gives it, a path, or None for the present one.

    Only the calling thread moves, and it comes back.

    Raises:
        SourceError: There is no such namespace.
        RightsError: CAP_SYS_ADMIN is missing.
        KernelError: There is no /proc.

    """
    if netns is None:
        yield
        return
    what = f"enter network namespace {netns}"
    path = Path(netns) if "/" in netns else Path("/run/netns") / netns
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(what, explain(error), "`ip netns list` shows the names") from None
    try:
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        os.close(there)
        raise KernelError(what, f"find the way back in /proc: {explain(error)}", "mount /proc") from None
    try:
        _setns(there, what)
        try:
            yield
        finally:
            _setns(here, "return to the own network namespace")
    finally:
        os.close(there)
        os.close(here)


def _setns(fd: int, what: str) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        rights = f"{remedy(Capability.SYS_ADMIN)}; or run inside the namespace"
        raise RightsError(what, explain(OSError(code, "")), rights)
