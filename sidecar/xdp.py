# SPDX-License-Identifier: Apache-2.0
"""
Attach the shipped program to an interface, and detach it.

Link and map are pinned in bpffs, so the kernel goes on counting while no sidecar runs, and the next one finds
the same map. A program of somebody else is never replaced.
"""

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar import bpf_uapi as uapi
from sidecar import libbpf, netns, pins, reported
from sidecar.errors import KernelError, RightsError, SourceError, explain, from_os_error

log = logging.getLogger(__name__)

_RIGHTS = "run as root, or with CAP_BPF and CAP_NET_ADMIN"


@dataclass(frozen=True)
class Interface:
    """An interface by name, in the network namespace *netns* (None: the sidecar's own)."""

    name: str
    netns: str | None = None

    def __str__(self) -> str:
        return f"{self.netns}:{self.name}" if self.netns else self.name

    @property
    def pin_directory(self) -> Path:
        """The directory in bpffs that holds the interface's pins; bpffs allows no dot in a name."""
        return pins.PIN_ROOT / str(self).replace("%", "%25").replace("/", "%2F").replace(".", "%2E")

    @property
    def map_pin(self) -> Path:
        """Where the map of counters is pinned."""
        return self.pin_directory / libbpf.MAP_NAME

    @property
    def link_pin(self) -> Path:
        """Where the attachment is pinned."""
        return self.pin_directory / "link"


def attach(interface: Interface) -> None:
    """
    Make sure that the program counts on the interface; do nothing if it does already.

    An attachment that survived an earlier sidecar is taken over; a map that survived its interface is counted
    on. Native mode first, generic where the driver has none.

    Raises:
        SourceError: There is no such interface, or it carries somebody else's program.
        RightsError: CAP_BPF or CAP_NET_ADMIN is missing.
        KernelError: No bpffs, no libbpf, or the kernel refused the program.

    """
    what = f"attach XDP program to {interface.name}"
    with netns.entered(interface.netns):
        ifindex = _ifindex(interface, what)
        if attached_ifindex(interface) == ifindex:
            return
        _refuse_foreign(interface, ifindex, what)
        _require_bpffs(what)
        _make_pin_directory(interface, what)
        with (
            _pinned("map", interface.map_pin) as map_fd,
            libbpf.load_packet_counter(reuse_map_fd=map_fd) as program,
        ):
            link_fd, mode = _link(program.prog_fd, ifindex, what)
            try:
                if map_fd is None:
                    _pin(program.map_fd, interface.map_pin)
                interface.link_pin.unlink(missing_ok=True)
                _pin(link_fd, interface.link_pin)
            finally:
                os.close(link_fd)
    frags = "multi-buffer packets too" if program.has_frags else "no multi-buffer packets on this kernel"
    log.info(
        "attached to %s in %s mode (%s), pinned at %s", interface.name, mode, frags, interface.pin_directory
    )


def detach(interface: Interface) -> bool:
    """
    Detach the program and remove the pins; return False if there was nothing to detach.

    The map ends with its pin, unless a running sidecar still holds it.

    Raises:
        RightsError: A capability, or a permission in bpffs, is missing.

    """
    what = f"detach XDP program from {interface.name}"
    if not interface.pin_directory.exists():
        return False
    try:
        link_fd = bpf.obj_get(str(interface.link_pin))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise from_os_error(
            what, error, rights=_RIGHTS, otherwise=f"remove {interface.pin_directory} by hand"
        ) from error
    else:
        try:
            bpf.link_detach(link_fd)
        except OSError as error:
            # The interface went away and took the attachment with it.
            if error.errno != errno.ENOLINK:
                raise from_os_error(what, error, rights=_RIGHTS, otherwise="try again") from error
        finally:
            os.close(link_fd)
    interface.link_pin.unlink(missing_ok=True)
    _unpin_map(interface)
    interface.pin_directory.rmdir()
    return True


def _unpin_map(interface: Interface) -> None:
    with _pinned("map", interface.map_pin) as map_fd:
        if map_fd is not None:
            reported.forget(bpf.map_info(map_fd).id)
            interface.map_pin.unlink()


def attached_ifindex(interface: Interface) -> int:
    """Return the index of the interface that our pinned link is attached to; 0 if there is none any more."""
    with _pinned("link", interface.link_pin) as link_fd:
        return 0 if link_fd is None else bpf.link_info(link_fd).ifindex


def _ifindex(interface: Interface, what: str) -> int:
    try:
        return socket.if_nametoindex(interface.name)
    except OSError:
        where = f" in network namespace {interface.netns}" if interface.netns else ""
        raise SourceError(what, f"no such interface{where}", "`ip link` shows the names") from None


def _refuse_foreign(interface: Interface, ifindex: int, what: str) -> None:
    prog_id = libbpf.attached_prog_id(ifindex)
    if prog_id:
        raise SourceError(
            what,
            f"it carries XDP program {_prog_name(prog_id)} (id {prog_id}), which is not replaced",
            f"detach that one (`ip link set dev {interface.name} xdp off`), "
            "or read its own map with --map-name, --map-id or --map-path",
        )


def _prog_name(prog_id: int) -> str:
    try:
        fd = bpf.prog_fd_by_id(prog_id)
    except OSError:
        return "of unknown name"
    try:
        return repr(bpf.prog_info(fd).name)
    finally:
        os.close(fd)


def _require_bpffs(what: str) -> None:
    if not pins.BPFFS.exists() or not bpf.is_bpffs(str(pins.BPFFS)):
        raise KernelError(what, f"no bpffs at {pins.BPFFS}", f"mount -t bpf bpf {pins.BPFFS}")


def _make_pin_directory(interface: Interface, what: str) -> None:
    try:
        interface.pin_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise RightsError(
            what, f"mkdir {interface.pin_directory}: {explain(error)}", "run as root"
        ) from error


@contextmanager
def _pinned(kind: str, path: Path) -> Iterator[int | None]:
    """Open what is pinned at *path*, or yield None if nothing is."""
    try:
        fd = bpf.obj_get(str(path))
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise from_os_error(
            f"open {kind} pinned at {path}", error, rights=_RIGHTS, otherwise="remove the pin"
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _link(prog_fd: int, ifindex: int, what: str) -> tuple[int, str]:
    try:
        return bpf.link_create_xdp(prog_fd, ifindex, uapi.XDP_FLAGS_DRV_MODE), "native"
    except OSError as error:
        log.debug("%s in native mode: %s", what, explain(error))
    try:
        return bpf.link_create_xdp(prog_fd, ifindex, uapi.XDP_FLAGS_SKB_MODE), "generic"
    except OSError as error:
        raise from_os_error(what, error, rights=_RIGHTS, otherwise="see the kernel's log") from error


def _pin(fd: int, path: Path) -> None:
    try:
        bpf.obj_pin(fd, str(path))
    except OSError as error:
        raise from_os_error(f"pin {path}", error, rights=_RIGHTS, otherwise="remove what is there") from error
