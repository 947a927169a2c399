# SPDX-License-Identifier: Apache-2.0
"""Attach a program to an interface by a pinned bpf_link: to XDP, as the only one there, or to TCX."""

import errno
import logging
import os
from pathlib import Path

from sidecar.errors import explain, from_os_error, translated
from sidecar.kernel import pins, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import remedy
from sidecar.kernel.libbpf import LOAD_RIGHTS

log = logging.getLogger(__name__)


def pinned(link_pin: Path) -> bpf.LinkInfo | None:
    """
    Return what the kernel knows of a pinned link, or None if there is none.

    Raises:
        OSError: The kernel refused the query.
        RightsError: The pin may not be opened.
        KernelError: The pin cannot be opened.

    """
    with pins.opened("link", link_pin) as link_fd:
        return None if link_fd is None else bpf.link_info(link_fd)


def map_of(link_fd: int, name: str) -> int:
    """
    Open the map called *name* that the program of a link uses; return its file descriptor.

    Raises:
        PermissionError: CAP_SYS_ADMIN is missing, which finding a map by its program takes.
        OSError: There is no such map.

    """
    prog_fd = bpf.prog_fd_by_id(bpf.link_info(link_fd).prog_id)
    try:
        map_ids = bpf.prog_info(prog_fd).map_ids
    finally:
        os.close(prog_fd)
    for map_id in map_ids:
        map_fd = bpf.map_fd_by_id(map_id, readonly=False)
        if bpf.map_info(map_fd).name == name:
            return map_fd
        os.close(map_fd)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def attach_xdp(prog_fd: int, ifindex: int, link_pin: Path, what: str) -> str:
    """
    Attach in native mode, or in generic mode if the driver has no other, and pin; return the mode's name.

    An existing pin is replaced. *what* begins the messages of RightsError and KernelError.
    """
    link_fd, mode = _create_xdp_link(prog_fd, ifindex, what)
    _pin(link_fd, link_pin)
    return mode


def attach_tcx_egress(prog_fd: int, ifindex: int, link_pin: Path, what: str) -> None:
    """
    Attach before the programs that are there, and pin: one that accepts a packet ends their sequence.

    An existing pin is replaced. *what* begins the messages of RightsError and KernelError.
    """
    with translated(what, rights=remedy(*LOAD_RIGHTS), otherwise="look at the kernel's log"):
        link_fd = bpf.link_create_tcx(prog_fd, ifindex, uapi.ATTACH_TCX_EGRESS, uapi.F_BEFORE)
    _pin(link_fd, link_pin)


def _pin(link_fd: int, link_pin: Path) -> None:
    try:
        link_pin.unlink(missing_ok=True)
        pins.pin(link_fd, link_pin)
    finally:
        os.close(link_fd)


def detach(link_pin: Path, what: str) -> None:
    """Detach a pinned link and remove its pin, if there is one; raise RightsError or KernelError."""
    with pins.opened("link", link_pin) as link_fd:
        if link_fd is None:
            return
        try:
            bpf.link_detach(link_fd)
        except OSError as error:
            # ENOLINK: the interface was deleted, and the attachment with it.
            if error.errno != errno.ENOLINK:
                raise from_os_error(
                    what, error, rights=remedy(*LOAD_RIGHTS), otherwise="try again"
                ) from error
    link_pin.unlink(missing_ok=True)


def _create_xdp_link(prog_fd: int, ifindex: int, what: str) -> tuple[int, str]:
    try:
        return bpf.link_create_xdp(prog_fd, ifindex, uapi.XDP_FLAGS_DRV_MODE), "native"
    except OSError as error:
        log.debug("cannot %s in native mode: %s", what, explain(error))
    try:
        return bpf.link_create_xdp(prog_fd, ifindex, uapi.XDP_FLAGS_SKB_MODE), "generic"
    except OSError as error:
        # net/core/dev.c, `dev_xdp_attach`: "Cannot attach when an upper device already has a program".
        is_below = error.errno == errno.EEXIST
        otherwise = (
            "`xdp-otel check` names the program on top of it" if is_below else "look at the kernel's log"
        )
        raise from_os_error(what, error, rights=remedy(*LOAD_RIGHTS), otherwise=otherwise) from error
