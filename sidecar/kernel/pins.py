# SPDX-License-Identifier: Apache-2.0
"""
Where in bpffs our pins lie, and how they are opened and made.

Anybody may make entries in a bpffs as `mount -t bpf` makes it, so nothing there is ours by its name alone.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import KernelError, RightsError, explain, from_os_error
from sidecar.kernel import path_lock, trusted
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy

BPFFS = Path("/sys/fs/bpf")
PIN_ROOT = BPFFS / "xdp-otel"

MODE = 0o711
"""Of our directories: others pass through, to pins that they may open. Who could read one could lock it."""

_PATIENCE_S = 30.0


DOTTED = "bpffs takes no name with a dot, so nothing can be pinned there"


def is_dotted(path: Path) -> bool:
    """Return whether bpffs refuses *path*, by EPERM, for a dot in it (`bpf_lookup`, kernel/bpf/inode.c)."""
    return any("." in one.name and _is_bpffs(one.parent) for one in (path, *path.parents))


def _is_bpffs(path: Path) -> bool:
    try:
        return bpf.is_bpffs(str(path))
    except OSError:
        return False


@contextmanager
def opened(kind: str, path: Path, *, readonly: bool = False) -> Iterator[int | None]:
    """Open what is pinned at *path*, or yield None if nothing is; raise RightsError or KernelError."""
    try:
        fd = bpf.obj_get(str(path), readonly=readonly)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        # EACCES is the file's; EPERM is bpf(2) itself: seccomp, or before Linux 5.19 no CAP_BPF.
        wanted = Capability.BPF if error.errno == errno.EPERM else Capability.DAC_OVERRIDE
        what = f"open {kind} pinned at {path}"
        raise from_os_error(what, error, rights=remedy(wanted), otherwise="remove the pin") from error
    try:
        yield fd
    finally:
        os.close(fd)


def pin(fd: int, path: Path) -> None:
    """Pin an object that is open; raise RightsError or KernelError."""
    try:
        bpf.obj_pin(fd, str(path))
    except OSError as error:
        rights = remedy(Capability.BPF, Capability.DAC_OVERRIDE)
        raise from_os_error(f"pin {path}", error, rights=rights, otherwise="remove what is there") from error


def directory(path: Path) -> int:
    """Open a directory of ours, made if it is missing; raise OSError, or RightsError if it is not ours."""
    trusted.make_directory(path, MODE)
    fd = trusted.open_directory(path)
    owner = os.fstat(fd).st_uid
    if owner not in trusted.owners():
        os.close(fd)
        raise RightsError(f"use {path}", f"it belongs to user {owner}", "remove it, or run as that user")
    return fd


@contextmanager
def changing(what: str) -> Iterator[None]:
    """
    Let nobody else attach or detach while the block runs: each step of it can be seen by others.

    Raises:
        KernelError: There is no bpffs, or another process does not come to an end.
        OSError: Our directory can be neither made nor opened.

    """
    require_bpffs(what)
    trusted.make_directory(PIN_ROOT, MODE)
    try:
        fd = path_lock.lock(PIN_ROOT, trusted.open_directory, patience_s=_PATIENCE_S)
    except BlockingIOError as error:
        cause = f"{error} has been attaching or detaching for {_PATIENCE_S:g} s"
        raise KernelError(what, cause, "see what it waits for, or end it") from None
    try:
        yield
    finally:
        os.close(fd)


def require_bpffs(what: str) -> None:
    """Raise KernelError unless bpffs is mounted."""
    try:
        if bpf.is_bpffs(str(BPFFS)):
            return
        cause = f"no bpffs at {BPFFS}"
    except FileNotFoundError:
        cause = f"no bpffs at {BPFFS}"
    except OSError as error:
        cause = f"bpffs at {BPFFS}: {explain(error)}"
    raise KernelError(what, cause, f"mount -t bpf bpf {BPFFS}")
