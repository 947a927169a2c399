# SPDX-License-Identifier: Apache-2.0
"""
Attach the shipped program to an interface, and detach it.

There are two ways: alone (`xdp_link`), or next to others if libxdp manages the interface (`dispatcher`). Both
are pinned in bpffs, as is the map, so the kernel goes on counting while no sidecar runs, and the next one
finds the same map. A program of somebody else is never replaced.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import KernelError, RightsError, SourceError, explain
from sidecar.kernel import dispatcher, libbpf, netns, path_lock, pins, reported, trusted, xdp_link
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.interface import Interface

log = logging.getLogger(__name__)

# The kernel frees a link, and with it the attachment, some moments after its last pin.
_LEAVING_S = 0.5


def attach(interface: Interface) -> None:
    """
    Make sure that the program counts on the interface; do nothing if it does already.

    An attachment that survived an earlier sidecar is taken over; a map that survived its interface is counted
    on. Native mode first, generic where the driver has none; next to others, in the mode they are in.

    Raises:
        SourceError: There is no such interface, or it carries somebody else's program.
        RightsError: A capability is missing, or the pins are another user's.
        KernelError: No bpffs, no libbpf, or the kernel refused the program.

    """
    what = f"attach XDP program to {interface.name}"
    with files_of_bpffs(what), netns.entered(interface.netns):
        ifindex = _ifindex(interface, what)
        with _while_there(interface, ifindex, what):
            if _is_counted(interface, ifindex):
                return
            with pins.changing(what):
                # What another process had begun is complete by now.
                if not _is_counted(interface, ifindex):
                    _count(interface, ifindex, what)


def detach(interface: Interface) -> bool:
    """
    Detach the program and remove the pins; return False if there was nothing to detach.

    Programs next to ours stay. The map ends with its pin, unless somebody still holds it.

    Raises:
        RightsError: A capability, or a permission in bpffs, is missing.
        SourceError: A sidecar counts there; or libxdp, by which it was attached, is not installed.
        KernelError: The kernel refused.

    """
    what = f"detach XDP program from {interface.name}"
    directory = interface.pin_directory
    with files_of_bpffs(what):
        if not _is_there(directory):
            return False
        with pins.changing(what):
            try:
                fd = trusted.open_directory(directory)
            except FileNotFoundError:
                return False
            try:
                if not path_lock.try_lock(fd):
                    cause = f"a sidecar counts there ({path_lock.holder(fd)})"
                    raise SourceError(what, cause, "stop it first; it would only attach again")
                xdp_link.detach(interface.link_pin, what)
                _leave(interface, what)
                _unpin_map(interface)
                directory.rmdir()
            finally:
                os.close(fd)
    return True


def is_shared(interface: Interface) -> bool:
    """Return whether the program counts there next to others, called by libxdp's dispatcher."""
    what = f"look at {interface.name}"
    with files_of_bpffs(what), netns.entered(interface.netns):
        try:
            ifindex = socket.if_nametoindex(interface.name)
        except OSError:
            return False
        with _while_there(interface, ifindex, what):
            return _joined(interface, ifindex) is not None


def _is_counted(interface: Interface, ifindex: int) -> bool:
    """Return whether our program is on the interface, and its map can be found."""
    if not _is_there(interface.map_pin):
        return False
    link = xdp_link.pinned(interface.link_pin)
    if link and link.ifindex == ifindex:
        # Another network namespace may have an interface of that name and number.
        return libbpf.attached_prog_id(ifindex) == link.prog_id
    return _joined(interface, ifindex) is not None


def _is_there(path: Path) -> bool:
    """Return whether something has that name; raise OSError if that may not be looked at."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _count(interface: Interface, ifindex: int, what: str) -> None:
    """Attach, or pin the map again where the program is attached already."""
    link = xdp_link.pinned(interface.link_pin)
    if link and link.ifindex == ifindex:
        if link.prog_id != libbpf.attached_prog_id(ifindex):
            cause = f"{interface.pin_directory} is of an interface of that name in another network namespace"
            raise SourceError(what, cause, "run it outside of both, with --netns, or detach that one")
        _find_map_again(interface, what)
        return
    present = _settled(ifindex)
    shared = present.prog_id and dispatcher.pins_of(ifindex, present.prog_id)
    if present.prog_id and not shared:
        raise _foreign(interface, present.prog_id, what)
    os.close(pins.directory(interface.pin_directory))
    with (
        pins.opened("map", interface.map_pin) as map_fd,
        libbpf.load_packet_counter(reuse_map_fd=map_fd) as program,
    ):
        # The map first: by it what is attached next is known as ours, even if this process ends now.
        if map_fd is None:
            pins.pin(program.map_fd, interface.map_pin)
        if shared:
            how = "by libxdp, next to the programs there"
            dispatcher.join(ifindex, program.map_fd, what, generic=present.generic, frags=program.has_frags)
        else:
            how = f"in {_attach_alone(interface, program, ifindex, what)} mode"
    frags = "multi-buffer packets too" if program.has_frags else "no multi-buffer packets on this kernel"
    log.info("attached to %s %s (%s), pinned at %s", interface.name, how, frags, interface.pin_directory)


def _attach_alone(interface: Interface, program: libbpf.LoadedProgram, ifindex: int, what: str) -> str:
    try:
        return xdp_link.attach(program.prog_fd, ifindex, interface.link_pin, what)
    except KernelError:
        faster = libbpf.attached_prog_id(ifindex)
        if faster:
            raise _foreign(interface, faster, what) from None
        raise


def _find_map_again(interface: Interface, what: str) -> None:
    """Pin the map of the attached program again: somebody removed the pin, while the link stayed."""
    with pins.opened("link", interface.link_pin) as link_fd:
        if link_fd is None:
            raise FileNotFoundError(errno.ENOENT, "", str(interface.link_pin))
        try:
            map_fd = xdp_link.map_of(link_fd, libbpf.MAP_NAME)
        except PermissionError:
            # Only CAP_SYS_ADMIN finds a map by its program. A new one counts on from here.
            with libbpf.load_packet_counter() as program:
                bpf.link_update(link_fd, program.prog_fd)
                pins.pin(program.map_fd, interface.map_pin)
            log.warning(
                "%s: somebody removed %s, and without %s its map cannot be found: counting in a new one",
                what,
                interface.map_pin,
                Capability.SYS_ADMIN,
            )
            return
        try:
            pins.pin(map_fd, interface.map_pin)
        finally:
            os.close(map_fd)
    log.warning("%s: somebody removed %s: pinned again", what, interface.map_pin)


def _settled(ifindex: int) -> libbpf.Attached:
    """Return what the interface carries; ours ends some moments after somebody removed its last pin."""
    deadline = time.monotonic() + _LEAVING_S
    while True:
        present = libbpf.attached(ifindex)
        if not _is_ours(present.prog_id) or time.monotonic() >= deadline:
            return present
        time.sleep(_LEAVING_S / 20)


def _joined(interface: Interface, ifindex: int) -> Path | None:
    """Return where libxdp pins our program, if its dispatcher on the interface calls it."""
    with pins.opened("map", interface.map_pin) as map_fd:
        if map_fd is None:
            return None
        directory = dispatcher.pins_of(ifindex, libbpf.attached(ifindex).prog_id)
        return dispatcher.find(directory, bpf.map_info(map_fd).id) if directory else None


def _leave(interface: Interface, what: str) -> None:
    if not netns.exists(interface.netns):
        return  # it is gone, and took its interfaces with it
    with netns.entered(interface.netns):
        try:
            ifindex = socket.if_nametoindex(interface.name)
        except OSError:
            return  # it is gone, and took its programs with it
        with _while_there(interface, ifindex, what):
            program_pin = _joined(interface, ifindex)
            if program_pin:
                dispatcher.leave(program_pin, ifindex, what)


def _unpin_map(interface: Interface) -> None:
    with pins.opened("map", interface.map_pin) as map_fd:
        if map_fd is not None:
            reported.forget(bpf.map_info(map_fd).id)
            interface.map_pin.unlink()


def _ifindex(interface: Interface, what: str) -> int:
    try:
        return socket.if_nametoindex(interface.name)
    except OSError:
        where = f" in network namespace {interface.netns}" if interface.netns else ""
        raise SourceError(what, f"no such interface{where}", "`ip link` shows the names") from None


@contextmanager
def _while_there(interface: Interface, ifindex: int, what: str) -> Iterator[None]:
    """Say it plainly if the interface goes away meanwhile: the kernel answers one thing or another then."""
    try:
        yield
    except (OSError, KernelError):
        if _ifindex(interface, what) != ifindex:
            raise SourceError(what, "the interface was made again meanwhile", "try again") from None
        raise


def _foreign(interface: Interface, prog_id: int, what: str) -> SourceError:
    whose = "xdp-otel's own, pinned elsewhere or not at all, " if _is_ours(prog_id) else ""
    return SourceError(
        what,
        f"it carries XDP program {_prog_name(prog_id)} (id {prog_id}), {whose}which is not replaced",
        f"detach that one (`ip link set dev {interface.name} xdp off`, or end what attached it) "
        "and load it by `xdp-loader`, next to which xdp-otel can count; "
        "or read its own map with --map-name, --map-id or --map-path",
    )


def _prog_name(prog_id: int) -> str:
    name = _name_of(prog_id)
    return "of unknown name" if name is None else repr(name)


def _is_ours(prog_id: int) -> bool:
    return bool(prog_id) and _name_of(prog_id) in libbpf.PROGRAM_NAMES


def _name_of(prog_id: int) -> str | None:
    try:
        info = bpf.prog_info_by_id(prog_id)
    except OSError:
        return None  # CAP_SYS_ADMIN is missing
    return info.name if info else None


@contextmanager
def files_of_bpffs(what: str) -> Iterator[None]:
    """Run the block; an OSError in it, of a file in bpffs or of the kernel, becomes a SidecarError."""
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
            raise KernelError(what, cause, "somebody removed it meanwhile: try again") from error
        raise KernelError(what, cause, "remove what is there and is not ours") from error
