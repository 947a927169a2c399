# SPDX-License-Identifier: Apache-2.0
"""Where in bpffs our pins lie, and how they are opened and made."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar.capabilities import Capability, remedy
from sidecar.errors import from_os_error

BPFFS = Path("/sys/fs/bpf")
PIN_ROOT = BPFFS / "xdp-otel"


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
