# SPDX-License-Identifier: Apache-2.0
"""
Objects pinned in bpffs: open them, pin our own, and lock the directory that holds ours.

A bpffs mounted by `mount -t bpf` lets any user create entries, so no entry is trusted for its name alone.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sidecar.errors import KernelError, RightsError, SidecarError, SourceError, explain, from_os_error
from sidecar.kernel import path_lock, trusted
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.suggest import nearest

BPFFS = Path("/sys/fs/bpf")
PIN_ROOT = BPFFS / "xdp-otel"

MODE = 0o711
"""Mode of our directories: others can traverse but not open them, because an open directory can be locked."""

DOTTED = "bpffs allows no dot in a name, so nothing can be pinned there"

_LOCK_TIMEOUT_S = 30.0
_MAX_SEARCHED = 1000
# Nothing is at the path, perhaps only for the moment.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def is_dotted(path: Path) -> bool:
    """Return whether bpffs refuses *path* with EPERM because of a dot (kernel/bpf/inode.c, `bpf_lookup`)."""
    return any("." in entry.name and _is_bpffs(entry.parent) for entry in (path, *path.parents))


def _is_bpffs(path: Path) -> bool:
    try:
        return bpf.is_bpffs(str(path))
    except OSError:
        return False


def open_object(path: Path) -> tuple[int, str]:
    """Open what is pinned at *path*, read-only if possible; return the fd and its kind, or raise OSError."""
    try:
        fd = bpf.obj_get(str(path), readonly=True)
    except OSError as error:
        # A link cannot be opened read-only (kernel/bpf/inode.c, `bpf_obj_get_user`).
        if error.errno != errno.EINVAL:
            raise
        fd = bpf.obj_get(str(path))
    try:
        return fd, bpf.object_kind(fd)
    except OSError:
        os.close(fd)
        raise


def open_map(path: Path) -> int:
    """
    Open a map by the pin that the user named, read-only; return its file descriptor.

    Raises:
        SourceError: Nothing is pinned there, or something that is not a map.
        RightsError: A right to open the pin is missing.
        KernelError: There is no /proc, or the kernel refused.

    """
    what = f"open map pinned at {path}"
    try:
        _refuse_unpinned(path, what)
        fd = bpf.obj_get(str(path), readonly=True)
    except OSError as error:
        raise _map_error(what, path, error) from error
    try:
        if bpf.object_kind(fd) == "map":
            return fd
    except OSError as error:
        os.close(fd)
        cause = f"cannot tell its kind from /proc: {explain(error)}"
        raise KernelError(what, cause, "mount proc at /proc") from error
    os.close(fd)
    raise SourceError(what, "not a pinned map: a program or a link", "`ls /sys/fs/bpf` lists the pins")


def _refuse_unpinned(path: Path, what: str) -> None:
    if not bpf.is_bpffs(str(path)):
        raise SourceError(what, "not a pinned map: not in a bpffs", "`mount -t bpf` shows where bpffs is")
    if path.is_dir():
        raise SourceError(what, "not a pinned map: a directory", f"name a pin in it: `ls {path}` lists them")


def _map_error(what: str, path: Path, error: OSError) -> SidecarError:
    if isinstance(error, PermissionError) and is_dotted(path):
        return SourceError(what, DOTTED, "`ls /sys/fs/bpf` lists the pins: libbpf pins map `.bss` as `_bss`")
    if error.errno in _NOT_THERE:
        how = "`ls /sys/fs/bpf` lists the pins; is bpffs mounted and the program loaded?"
        return SourceError(what, explain(error), _did_you_mean(path, how))
    # EACCES comes from bpffs; EPERM from bpf(2) itself: before Linux 5.19, every call needs CAP_BPF.
    rights = (
        remedy(Capability.BPF)
        if error.errno == errno.EPERM
        else f"{remedy(Capability.DAC_READ_SEARCH)}; or as the owner or the group of the pin"
    )
    return from_os_error(what, error, rights=rights, otherwise="name a pinned map")


def _did_you_mean(path: Path, otherwise: str) -> str:
    """Return the remedy for a pin that does not exist: the pin with the nearest name, wherever it is."""
    found = (Path(folder, name) for folder, _, names in os.walk(BPFFS) for name in names)
    by_name = {pin.name: str(pin) for pin in islice(found, _MAX_SEARCHED)}
    close = nearest(path.name, by_name)
    return f"did you mean {by_name[close]}? {otherwise}" if close else otherwise


@contextmanager
def opened(
    kind: str, path: Path, *, readonly: bool = False, otherwise: str = "remove the pin"
) -> Iterator[int | None]:
    """
    Open a pin that only xdp-otel or libxdp creates, for the block; yield None if nothing is pinned there.

    *kind* names the object in error messages, and *otherwise* is the remedy if no right is missing.

    Raises:
        RightsError: A right to open the pin is missing.
        KernelError: The kernel refused.

    """
    try:
        fd = bpf.obj_get(str(path), readonly=readonly)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        # EACCES comes from the file; EPERM from bpf(2) itself: seccomp, or before Linux 5.19 no CAP_BPF.
        file_right = Capability.DAC_READ_SEARCH if readonly else Capability.DAC_OVERRIDE
        needed = Capability.BPF if error.errno == errno.EPERM else file_right
        what = f"open {kind} pinned at {path}"
        raise from_os_error(what, error, rights=remedy(needed), otherwise=otherwise) from error
    try:
        yield fd
    finally:
        os.close(fd)


def pin(fd: int, path: Path) -> None:
    """Pin an open object; raise RightsError or KernelError."""
    try:
        bpf.obj_pin(fd, str(path))
    except OSError as error:
        rights = remedy(Capability.BPF, Capability.DAC_OVERRIDE)
        raise from_os_error(f"pin {path}", error, rights=rights, otherwise="remove what is there") from error


def directory(path: Path) -> int:
    """Open a directory of ours, creating it if missing; raise OSError, or RightsError if it is not ours."""
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
    Keep other processes from attaching or detaching while the block runs: they could see its single steps.

    Raises:
        KernelError: There is no bpffs, or another process holds the lock for too long.
        OSError: Our directory can be neither created nor opened.

    """
    require_bpffs(what)
    trusted.make_directory(PIN_ROOT, MODE)
    try:
        fd = path_lock.lock(PIN_ROOT, trusted.open_directory, timeout_s=_LOCK_TIMEOUT_S)
    except BlockingIOError as error:
        cause = f"{error} has been attaching or detaching for {_LOCK_TIMEOUT_S:g} s"
        raise KernelError(what, cause, "find out what it waits for, or end it") from None
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def file_errors(what: str) -> Iterator[None]:
    """Turn an OSError of the block, from a file in bpffs or from the kernel, into a SidecarError."""
    try:
        yield
    except OSError as error:
        cause = explain(error) + (f" ({error.filename})" if error.filename else "")
        if error.errno == errno.EROFS:
            how = "mount bpffs read-write (under systemd: ReadWritePaths=/sys/fs/bpf)"
            raise RightsError(what, cause, how) from error
        if isinstance(error, PermissionError):
            raise RightsError(what, cause, remedy(Capability.DAC_OVERRIDE)) from error
        if isinstance(error, FileNotFoundError):
            raise KernelError(what, cause, "another process removed it meanwhile: try again") from error
        raise KernelError(what, cause, "remove what is there, if it is not xdp-otel's") from error


def require_bpffs(what: str) -> None:
    """Raise KernelError unless bpffs is mounted at /sys/fs/bpf."""
    cause = f"no bpffs at {BPFFS}"
    try:
        if bpf.is_bpffs(str(BPFFS)):
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        cause = f"bpffs at {BPFFS}: {explain(error)}"
    raise KernelError(what, cause, f"mount -t bpf bpf {BPFFS}")
