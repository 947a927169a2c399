# SPDX-License-Identifier: Apache-2.0
"""Enter a network namespace and return from it (setns(2))."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import KernelError, RightsError, SourceError, explain
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.suggest import did_you_mean

_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"
_NAMED = Path("/run/netns")
# os.setns came with Python 3.12.
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def entered(netns: str | None) -> Iterator[None]:
    """
    Run the block in a network namespace: a name as in `ip netns`, a path, or None for the present one.

    Only the calling thread moves, and it returns afterwards.

    Raises:
        SourceError: There is no such namespace.
        KernelError: There is no /proc, and so no way back.
        RightsError: CAP_SYS_ADMIN is missing.

    """
    if netns is None:
        yield
        return
    what = f"enter network namespace {netns}"
    try:
        target = os.open(_path(netns), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        remedy = did_you_mean(netns, _names(), "`ip netns list` shows the names")
        raise SourceError(what, explain(error), remedy) from None
    try:
        with _own() as own:
            _setns(target, what)
            try:
                yield
            finally:
                _setns(own, "return to the original network namespace")
    finally:
        os.close(target)


def exists(netns: str | None) -> bool:
    """Return whether there is such a namespace."""
    return netns is None or os.path.exists(_path(netns))  # noqa: PTH110  # never raises


def _path(netns: str) -> Path:
    return Path(netns) if "/" in netns else _NAMED / netns


def _names() -> list[str]:
    try:
        return [path.name for path in _NAMED.iterdir()]
    except OSError:
        return []


@contextmanager
def _own() -> Iterator[int]:
    try:
        own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"open {_OWN}", explain(error), "mount proc at /proc") from None
    try:
        yield own
    finally:
        os.close(own)


def _setns(fd: int, what: str) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        error = OSError(ctypes.get_errno(), "")
        if error.errno == errno.EINVAL:
            raise SourceError(what, "not a network namespace", "`ip netns list` shows the names")
        rights = f"{remedy(Capability.SYS_ADMIN)}; or run inside the namespace"
        raise RightsError(what, explain(error), rights)
