# SPDX-License-Identifier: Apache-2.0
"""
Which features of BPF this kernel has, by trying them without any effect.

Never by its version: the 5.14 kernel of RHEL 9, for one, carries the BPF of a far newer one.
"""

import ctypes
import errno
import os
import socket
from pathlib import Path

from sidecar.errors import KernelError, explain, from_os_error
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.capabilities import Capability, is_known, remedy

_NO_BATCH = (errno.EINVAL, 524)  # 524: ENOTSUPP


def knows_cap_bpf() -> bool:
    """Return whether the kernel has CAP_BPF (5.8); before it, CAP_SYS_ADMIN is needed in its place."""
    return is_known(Capability.BPF)


def has_btf() -> bool:
    """Return whether the kernel describes its own types."""
    return Path("/sys/kernel/btf/vmlinux").exists()


def reads_in_batches(map_fd: int, info: bpf.MapInfo) -> bool:
    """Return whether the kernel reads a map of this kind in batches, by asking for a batch of no entry."""
    cursor = ctypes.create_string_buffer(max(4, info.key_size))
    _, code = bpf.map_lookup_batch(map_fd, None, cursor, 0, 0, 0)
    return code not in _NO_BATCH


def refuses_below_programs() -> bool:
    """
    Return whether the kernel refuses an XDP program on an interface below one that carries a program (5.15).

    The same change added the function `xdp_master_redirect`. A kernel that does not list its functions is
    taken for a newer one.
    """
    try:
        return b" xdp_master_redirect\n" in Path("/proc/kallsyms").read_bytes()
    except OSError:
        return True


def require_tcx(what: str) -> None:
    """
    Raise KernelError unless the kernel has TCX, the hooks for programs beside qdiscs (6.6).

    Listing the programs on the loopback interface tells; it needs CAP_NET_ADMIN.
    """
    try:
        bpf.tcx_prog_ids(socket.if_nametoindex("lo"), uapi.ATTACH_TCX_EGRESS)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise KernelError(
                what,
                "the kernel has no TCX, where transmitted packets are counted",
                "count received packets alone (--direction receive), or upgrade it (mainline: 6.6 or newer)",
            ) from None
        raise from_os_error(
            what, error, rights=remedy(Capability.NET_ADMIN), otherwise="look at the kernel's log"
        ) from error


def require_xdp_link(prog_fd: int, what: str) -> None:
    """
    Raise KernelError unless an XDP program can be attached by a bpf_link (5.9).

    It is tried in a mode that the loopback interface can never have: hardware offload. The kernel answers
    EOPNOTSUPP if it knows such links, else EINVAL.
    """
    try:
        os.close(bpf.link_create_xdp(prog_fd, socket.if_nametoindex("lo"), uapi.XDP_FLAGS_HW_MODE))
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise KernelError(
                what, "the kernel has no bpf_link for XDP", "upgrade it, or read a map that it has"
            ) from None
        if error.errno != errno.EOPNOTSUPP:
            raise KernelError(what, explain(error), "look at the kernel's log") from None
