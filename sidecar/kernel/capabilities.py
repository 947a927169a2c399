# SPDX-License-Identifier: Apache-2.0
"""
This thread's capabilities: find out which are missing, and drop the ones that are not needed.

They belong to a thread; a new thread inherits those of its creator (capabilities(7)). Numbers follow the
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
    """The capabilities that some way of running needs."""

    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39

    def __str__(self) -> str:
        return f"CAP_{self.name}"


# bpf_capable() and perfmon_capable() of include/linux/capability.h accept SYS_ADMIN in their place.
_IMPLIED_BY_SYS_ADMIN = {Capability.BPF, Capability.PERFMON}

_VERSION_3 = 0x20080522
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`; pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    """`struct __user_cap_data_struct`: 32 capabilities, the lower numbers first."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def missing(*wanted: Capability) -> tuple[Capability, ...]:
    """Return which of the *wanted* capabilities are not effective."""
    effective, _ = _sets()
    held = set(_members(effective))
    if Capability.SYS_ADMIN in held:
        held |= _IMPLIED_BY_SYS_ADMIN
    return tuple(capability for capability in wanted if capability not in held)


def remedy(*wanted: Capability) -> str:
    """Return what to do after EPERM or EACCES in a step that needs the *wanted* capabilities."""
    absent = missing(*wanted)
    if absent:
        return f"{_listed(absent)} missing: run as root, or with {_names(wanted)}"
    if _in_user_namespace():
        return "capabilities of a user namespace do not count: run outside of it, not in a rootless container"
    return (
        f"{_listed(wanted)} present: check seccomp, SELinux, kernel lockdown, permissions in bpffs "
        "and, before Linux 5.11, the limit on locked memory (`ulimit -l`)"
    )


def _in_user_namespace() -> bool:
    try:
        return Path("/proc/self/uid_map").read_text().split()[-1] != str(2**32 - 1)
    except OSError:  # no /proc
        return False


def keep_only(wanted: AbstractSet[Capability]) -> tuple[Capability, ...]:
    """
    Drop, for good, all capabilities but the *wanted*; return which of them are left: those held before.

    This empties the bounding and the ambient set and sets no_new_privs, so no program started from here gets
    any back. It affects the calling thread and those that it starts.

    Raises:
        RuntimeError: There is a second thread, which would keep all of them.
        OSError: seccomp forbids capset(2).

    """
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if threads > 1:
        raise RuntimeError(
            f"cannot drop capabilities in one of {threads} threads: the others would keep them"
        )
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    # EINVAL: past the last capability. EPERM: no CAP_SETPCAP, so no_new_privs has to suffice.
    for number in range(64):
        if _prctl(_PR_CAPBSET_DROP, number) != 0:
            break
    _, permitted = _sets()
    kept = sum(1 << capability for capability in wanted) & permitted
    _set(kept, kept)
    return _members(kept)


@contextmanager
def suspended() -> Iterator[None]:
    """Run the block without effective capabilities: whatever the kernel refuses then needs one."""
    effective, permitted = _sets()
    _set(0, permitted)
    try:
        yield
    finally:
        _set(effective, permitted)


def reading_needs_bpf() -> bool:
    """
    Return whether reading a map that is already open needs CAP_BPF.

    Before Linux 5.19 it does where `kernel.unprivileged_bpf_disabled` is not 0 (kernel/bpf/syscall.c,
    `__sys_bpf`). Distributions backport the change, so this tries a read instead of comparing versions.
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


def _members(mask: int) -> tuple[Capability, ...]:
    return tuple(capability for capability in Capability if mask >> capability & 1)


def _sets() -> tuple[int, int]:
    """Return the effective and the permitted set as bit masks."""
    halves = (_Half * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), halves))
    low, high = halves
    return low.effective | high.effective << 32, low.permitted | high.permitted << 32


def is_known(capability: Capability) -> bool:
    """Return whether the kernel has a capability of that number."""
    return _prctl(_PR_CAPBSET_READ, capability) >= 0


def _set(effective: int, permitted: int) -> None:
    """Set both sets, given as bit masks, and empty the inheritable one."""
    low, high = (_Half(effective >> at & 0xFFFFFFFF, permitted >> at & 0xFFFFFFFF, 0) for at in (0, 32))
    _check(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), (_Half * 2)(low, high)))


def _prctl(option: int, argument: int) -> int:
    zeros = (ctypes.c_ulong(0),) * 3
    return int(_libc.prctl(option, ctypes.c_ulong(argument), *zeros))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
