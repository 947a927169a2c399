# SPDX-License-Identifier: Apache-2.0
"""
This thread's capabilities: which are missing, and giving up the others.

Linux keeps them for each thread; a new thread inherits its parent's (capabilities(7)). Numbers follow the
kernel's `include/uapi/linux/capability.h` and `prctl.h`.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from sidecar.kernel import syscall as bpf


class Capability(IntEnum):
    """Those that some way of running wants."""

    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39

    def __str__(self) -> str:
        return f"CAP_{self.name}"


# bpf_capable() and perfmon_capable() of include/linux/capability.h take SYS_ADMIN in their place.
_IMPLIED_BY_SYS_ADMIN = {Capability.BPF, Capability.PERFMON}

_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`; pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    """`struct __user_cap_data_struct`: 32 of the capabilities, the lower ones first."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def missing(*wanted: Capability) -> tuple[Capability, ...]:
    """Return which of the *wanted* are not in effect."""
    effective, _ = _sets()
    held = {one for one in Capability if effective >> one & 1}
    if Capability.SYS_ADMIN in held:
        held |= _IMPLIED_BY_SYS_ADMIN
    return tuple(one for one in wanted if one not in held)


def remedy(*wanted: Capability) -> str:
    """Return what to do when the kernel answered EPERM or EACCES to a step that takes the *wanted*."""
    absent = missing(*wanted)
    if absent:
        return f"{_listed(absent)} missing: run as root, or with {_names(wanted)}"
    if _in_user_namespace():
        return "capabilities of a user namespace do not count: run outside of it, not in a rootless container"
    return f"{_listed(wanted)} there: look at seccomp, SELinux, kernel lockdown and permissions in bpffs"


def _in_user_namespace() -> bool:
    try:
        return Path("/proc/self/uid_map").read_text().split()[-1] != str(2**32 - 1)
    except OSError:  # no /proc
        return False


def keep_only(wanted: AbstractSet[Capability]) -> tuple[Capability, ...]:
    """
    Give up, for good, all capabilities but the *wanted*; return which are left: those of them that were held.

    The bounding and the ambient set are emptied and no_new_privs is set, so no program started from here
    gets any back. It holds for the calling thread and those that it starts.

    Raises:
        RuntimeError: There is a second thread, which would keep everything.
        OSError: capset(2) is forbidden, by seccomp.

    """
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads > 1:
        raise RuntimeError(f"capabilities can be given up by a single thread only, not by one of {threads}")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    # EINVAL is the end of the kernel's list; EPERM, without CAP_SETPCAP, means no_new_privs must do.
    for number in range(64):
        if not _prctl(_PR_CAPBSET_DROP, number):
            break
    _, permitted = _sets()
    kept = sum(1 << one for one in wanted) & permitted
    _set(kept, kept)
    return tuple(one for one in Capability if kept >> one & 1)


@contextmanager
def suspended() -> Iterator[None]:
    """Have none in effect while the block runs: what the kernel refuses then takes one."""
    effective, permitted = _sets()
    _set(0, permitted)
    try:
        yield
    finally:
        _set(effective, permitted)


def reading_wants_bpf() -> bool:
    """
    Return whether the kernel wants CAP_BPF even for reading a map that is open.

    Before Linux 5.19 it does where `kernel.unprivileged_bpf_disabled` is not 0 (kernel/bpf/syscall.c,
    `__sys_bpf`); distributions backport the change, so the kernel is asked, not its version.
    """
    with suspended():
        try:
            bpf.map_lookup(-1, bytes(4), 8)
        except OSError as error:
            return error.errno == errno.EPERM
    raise AssertionError("unreachable: there is no file descriptor -1")


def _listed(capabilities: tuple[Capability, ...]) -> str:
    return f"{_names(capabilities)} {'is' if len(capabilities) == 1 else 'are'}"


def _names(capabilities: tuple[Capability, ...]) -> str:
    *others, last = map(str, capabilities)
    return f"{', '.join(others)} and {last}" if others else last


def _sets() -> tuple[int, int]:
    """Return the effective and the permitted set as bit masks."""
    halves = (_Half * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), halves))
    low, high = halves
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def _set(effective: int, permitted: int) -> None:
    """Set both sets, and empty the inheritable one."""
    low, high = (_Half(effective >> at & 0xFFFFFFFF, permitted >> at & 0xFFFFFFFF, 0) for at in (0, 32))
    _check(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), (_Half * 2)(low, high)))


def _prctl(option: int, argument: int) -> bool:
    zeros = (ctypes.c_ulong(0),) * 3
    return bool(_libc.prctl(option, ctypes.c_ulong(argument), *zeros) == 0)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
