# SPDX-License-Identifier: Apache-2.0
"""
Attach the shipped program to one direction of an interface, and detach it.

XDP counts what the interface receives: attached alone (`program_link`), or next to others where libxdp
manages the interface (`dispatcher`). TCX egress counts what it transmits, before all others there. The
attachment and the map are pinned in bpffs, so the kernel keeps counting while no sidecar runs, and the next
sidecar finds the same map. A program of another owner is never replaced.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import KernelError, SourceError
from sidecar.kernel import (
    dispatcher,
    elsewhere,
    features,
    libbpf,
    netlink,
    netns,
    path_lock,
    pins,
    program_link,
    reported,
    trusted,
    uapi,
)
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability
from sidecar.kernel.interface import Interface, index_of

log = logging.getLogger(__name__)

# The kernel frees a link, and detaches its program, a moment after the last pin is removed.
_DETACH_TIMEOUT_S = 0.5


def attach(interface: Interface) -> None:
    """
    Ensure that the program counts in that direction of the interface; do nothing if it already does.

    It counts packet sizes as well if *interface* is their map, and from then on until it is detached.

    The attachment of an earlier sidecar is kept, and so is a map that outlived its interface. Alone, the XDP
    program is attached in native mode, or in generic mode if the driver has no other; next to others, in
    their mode.

    Raises:
        SourceError: There is no such interface, or it carries another owner's XDP program.
        RightsError: A capability is missing, or the pins belong to another user.
        KernelError: There is no bpffs, no libbpf or no TCX, or the kernel refused the program.

    """
    what = f"attach to {interface.name}"
    with pins.file_errors(what), netns.entered(interface.netns):
        ifindex = index_of(interface, what)
        with _while_it_exists(interface, ifindex, what):
            if _is_counting(interface, ifindex):
                return
            with pins.changing(what):
                # Another process may have attached it before we got the lock.
                if not _is_counting(interface.packets, ifindex):
                    _start_counting(interface.packets, ifindex, what)
                # The program that was just attached counts sizes already if one before it did.
                if not _is_counting(interface, ifindex):
                    _count_sizes(interface, what)


def detach(interface: Interface) -> bool:
    """
    Detach the programs of both directions and remove the pins; return False if there was nothing to detach.

    Programs next to ours stay. A map ends with its pin, unless another process holds it open. Pins whose
    interface is gone are removed all the same.

    Raises:
        RightsError: A capability or a permission in bpffs is missing.
        SourceError: There is neither such an interface nor its pins; or the program is on an interface of
            another network namespace, or a sidecar counts there, or libxdp, which attached it, is missing.
        KernelError: The kernel refused.

    """
    what = f"detach from {interface.name}"
    directory = interface.pin_directory
    with pins.file_errors(what):
        if not _exists(directory):
            _require_here(interface, what)
            return False
        with pins.changing(what):
            _refuse_elsewhere(interface, what)
            try:
                fd = trusted.open_directory(directory)
            except FileNotFoundError:
                return False
            try:
                if not path_lock.try_lock(fd):
                    cause = f"a sidecar counts there ({path_lock.holder(fd)})"
                    raise SourceError(what, cause, "stop it first; it would only attach again")
                for each in interface.in_both_directions:
                    program_link.detach(each.link_pin, what)
                    _leave_dispatcher(each, what)
                    _unpin_map(each.packets)
                    _unpin_map(each.sizes)
                directory.rmdir()
            finally:
                os.close(fd)
    return True


def counting_on(interface: Interface) -> int:
    """
    Return the index of the interface of this network namespace on which the pinned program counts; or 0.

    The interface may have been renamed since. A program that libxdp attached is not known by its pin.
    """
    what = f"look up the program of {interface.name}"
    with pins.file_errors(what):
        link = program_link.pinned(interface.link_pin)
        if link is None or not link.ifindex:
            return 0
        try:
            here = link.prog_id in _programs_on(interface, link.ifindex)
        except (OSError, KernelError):
            return 0  # no interface here has that index
        return link.ifindex if here else 0


def is_left_behind(interface: Interface) -> bool:
    """Return whether a map is pinned that nothing fills any more, because its interface was deleted."""
    with pins.file_errors(f"look up the pins of {interface.name}"):
        if not _exists(interface.map_pin):
            return False
        link = program_link.pinned(interface.link_pin)
        return link is None or not link.ifindex


def detach_gone(interface: Interface) -> None:
    """Detach from an interface that is not in its network namespace any more; its map stays pinned."""
    what = f"detach from {interface.name}"
    with pins.file_errors(what), pins.changing(what):
        program_link.detach(interface.link_pin, what)


def forget_gone(interface: Interface) -> None:
    """Remove the pins of an interface that is gone; the caller holds its lock."""
    what = f"remove the pins of {interface.name}"
    with pins.file_errors(what), pins.changing(what):
        program_link.detach(interface.link_pin, what)
        _unpin_map(interface)


def _require_here(interface: Interface, what: str) -> None:
    """Raise SourceError if the interface, which has no pins, does not exist; name its twins that have."""
    try:
        elsewhere.require_interface(interface, what)
    except SourceError:
        twins = elsewhere.twins(interface)
        if not twins:
            raise
        places = ", ".join(map(elsewhere.describe, twins))
        where = f" --netns {twins[0].netns}" if twins[0].netns else ""
        remedy = f"`xdp-otel detach --interface {interface.name}{where}`"
        raise SourceError(what, f"our program is attached to {places}", remedy) from None


def _refuse_elsewhere(interface: Interface, what: str) -> None:
    """Raise SourceError if the pins are those of an interface of that name in another network namespace."""
    if interface.netns is not None:
        return  # the pins are named after the namespace
    links = [(each, program_link.pinned(each.link_pin)) for each in interface.in_both_directions]
    place = next(filter(None, (elsewhere.place_of(link, each) for each, link in links if link)), None)
    if place:
        enter = f"nsenter --net={place.path}" if place.path else "nsenter --net=… (`lsns -t net` lists them)"
        remedy = f"detach it there: `{enter} xdp-otel detach --interface {interface.name}`"
        raise SourceError(what, f"our program is attached to {place}", remedy)


def is_shared(interface: Interface) -> bool:
    """Return whether the program counts next to others, called by libxdp's dispatcher."""
    what = f"look up the programs on {interface.name}"
    with pins.file_errors(what), netns.entered(interface.netns):
        try:
            ifindex = index_of(interface, what)
        except SourceError:
            return False
        with _while_it_exists(interface, ifindex, what):
            return _dispatched(interface, ifindex) is not None


def _is_counting(interface: Interface, ifindex: int) -> bool:
    """Return whether our program is on the interface and its map is pinned."""
    if not _exists(interface.map_pin):
        return False
    link = program_link.pinned(interface.link_pin)
    if link and link.ifindex == ifindex:
        # Another network namespace may have an interface with the same name and index.
        return link.prog_id in _programs_on(interface, ifindex)
    return _dispatched(interface, ifindex) is not None


def _programs_on(interface: Interface, ifindex: int) -> tuple[int, ...]:
    """Return the ids of the programs at the hook of that direction."""
    if interface.direction == "transmit":
        return bpf.tcx_prog_ids(ifindex, uapi.ATTACH_TCX_EGRESS)
    # libbpf would list all interfaces for it.
    return netlink.programs_on(ifindex) or ()


def _exists(path: Path) -> bool:
    """Return whether there is an entry with that name; raise OSError if it cannot be looked up."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _start_counting(interface: Interface, ifindex: int, what: str) -> None:
    """Attach the program, or pin its map again if it is already attached."""
    link = program_link.pinned(interface.link_pin)
    if link and link.ifindex == ifindex:
        if link.prog_id not in _programs_on(interface, ifindex):
            cause = f"{interface.pin_directory} belongs to an interface of that name in another netns"
            raise SourceError(what, cause, "run it outside of both, with --netns, or detach that one")
        _repin_map(interface)
    elif interface.direction == "transmit":
        _count_transmitted(interface, ifindex, what)
    else:
        _count_received(interface, ifindex, what)


def _count_transmitted(interface: Interface, ifindex: int, what: str) -> None:
    features.require_tcx(what)
    os.close(pins.directory(interface.pin_directory))
    with pins.opened("map", interface.map_pin) as map_fd, _loaded(interface, map_fd) as program:
        if map_fd is None:
            pins.pin(program.map_fd, interface.map_pin)
        program_link.attach_tcx_egress(program.prog_fd, ifindex, interface.link_pin, what)
    log.info("attached to %s at TCX egress, pinned at %s", interface.name, interface.pin_directory)


def _count_received(interface: Interface, ifindex: int, what: str) -> None:
    present = _settled(ifindex)
    is_shared = bool(present.prog_id and dispatcher.pins_of(ifindex, present.prog_id))
    if present.prog_id and not is_shared:
        raise _foreign(interface, present.prog_id, what)
    os.close(pins.directory(interface.pin_directory))
    with pins.opened("map", interface.map_pin) as map_fd, _loaded(interface, map_fd) as program:
        # Pin the map first: it identifies the attached program as ours, even if this process ends now.
        if map_fd is None:
            pins.pin(program.map_fd, interface.map_pin)
        if is_shared:
            how = "by libxdp, next to the programs there"
            dispatcher.join(ifindex, program.map_fd, what, generic=present.generic, frags=program.has_frags)
        else:
            how = f"in {_attach_alone(interface, program, ifindex, what)} mode"
    frags = "with" if program.has_frags else "without"
    log.info(
        "attached to %s %s (%s multi-buffer packets), pinned at %s",
        interface.name,
        how,
        frags,
        interface.pin_directory,
    )


def _count_sizes(interface: Interface, what: str) -> None:
    """Replace the attached program by one that counts sizes as well, on in the same map of packets."""
    with (
        pins.opened("link", interface.link_pin) as link_fd,
        pins.opened("map", interface.packets.map_pin) as map_fd,
    ):
        if link_fd is None:
            cause = "libxdp calls the program there, which cannot be replaced by one that counts packet sizes"
            raise SourceError(what, cause, "leave out --packet-sizes there")
        with _loader(interface)(reuse_map_fd=map_fd, sizes=libbpf.Sizes()) as program:
            bpf.link_update(link_fd, program.prog_fd)
            pins.pin(program.sizes_fd, interface.map_pin)
    log.info("%s: counting packet sizes as well, pinned at %s", interface.name, interface.map_pin)


@contextmanager
def _loaded(interface: Interface, map_fd: int | None = None) -> Iterator[libbpf.LoadedProgram]:
    """Load the program for the block, with the pinned map of sizes if there is one."""
    with pins.opened("map", interface.sizes.map_pin) as sizes_fd:
        sizes = None if sizes_fd is None else libbpf.Sizes(sizes_fd)
        with _loader(interface)(reuse_map_fd=map_fd, sizes=sizes) as program:
            yield program


def _loader(interface: Interface) -> Callable[..., libbpf.LoadedProgram]:
    return libbpf.load_transmit_counter if interface.direction == "transmit" else libbpf.load_packet_counter


def _attach_alone(interface: Interface, program: libbpf.LoadedProgram, ifindex: int, what: str) -> str:
    try:
        return program_link.attach_xdp(program.prog_fd, ifindex, interface.link_pin, what)
    except KernelError:
        winner = libbpf.attached_prog_id(ifindex)
        if winner:
            raise _foreign(interface, winner, what) from None
        raise


def _repin_map(interface: Interface) -> None:
    """Pin the map of the attached program again: its pin was removed, but not the link's."""
    with pins.opened("link", interface.link_pin) as link_fd:
        if link_fd is None:
            raise FileNotFoundError(errno.ENOENT, "", str(interface.link_pin))
        try:
            map_fd = program_link.map_of(link_fd, libbpf.MAP_NAME)
        except PermissionError:
            _replace_map(interface, link_fd)
            return
        try:
            pins.pin(map_fd, interface.map_pin)
        finally:
            os.close(map_fd)
    log.warning("%s: another process removed %s: pinned it again", interface.name, interface.map_pin)


def _replace_map(interface: Interface, link_fd: int) -> None:
    """Continue in a new map, because the old one cannot be found by its program."""
    with _loaded(interface) as program:
        bpf.link_update(link_fd, program.prog_fd)
        pins.pin(program.map_fd, interface.map_pin)
    log.warning(
        "%s: another process removed %s, and without %s its map cannot be found: counting in a new one",
        interface.name,
        interface.map_pin,
        Capability.SYS_ADMIN,
    )


def _settled(ifindex: int) -> libbpf.Attached:
    """Return what the interface carries, after giving a program of ours without pins time to be detached."""
    deadline = time.monotonic() + _DETACH_TIMEOUT_S
    while True:
        present = libbpf.attached(ifindex)
        if not _is_ours(present.prog_id) or time.monotonic() >= deadline:
            return present
        time.sleep(_DETACH_TIMEOUT_S / 20)


def _dispatched(interface: Interface, ifindex: int) -> Path | None:
    """Return libxdp's pin of our program, or None if no dispatcher on the interface calls it."""
    if interface.direction == "transmit":
        return None
    with pins.opened("map", interface.map_pin) as map_fd:
        if map_fd is None:
            return None
        directory = dispatcher.pins_of(ifindex, libbpf.attached(ifindex).prog_id)
        return dispatcher.find(directory, bpf.map_info(map_fd).id) if directory else None


def _leave_dispatcher(interface: Interface, what: str) -> None:
    if not netns.exists(interface.netns):
        return  # its interfaces are gone as well
    with netns.entered(interface.netns):
        try:
            ifindex = socket.if_nametoindex(interface.name)
        except OSError:
            return  # its programs are gone as well
        with _while_it_exists(interface, ifindex, what):
            program_pin = _dispatched(interface, ifindex)
            if program_pin:
                dispatcher.leave(program_pin, ifindex, what)


def _unpin_map(interface: Interface) -> None:
    with pins.opened("map", interface.map_pin) as map_fd:
        if map_fd is not None:
            reported.forget(bpf.map_info(map_fd).id)
            interface.map_pin.unlink()


@contextmanager
def _while_it_exists(interface: Interface, ifindex: int, what: str) -> Iterator[None]:
    """Raise SourceError in place of an error of the block if the interface has disappeared meanwhile."""
    try:
        yield
    except (OSError, KernelError):
        if index_of(interface, what) != ifindex:
            raise SourceError(what, "the interface was recreated meanwhile", "try again") from None
        raise


def _foreign(interface: Interface, prog_id: int, what: str) -> SourceError:
    name = _prog_name(prog_id)
    shown = "of unknown name" if name is None else repr(name)
    whose = "xdp-otel's own, pinned elsewhere or not at all, " if _is_ours(prog_id) else ""
    return SourceError(
        what,
        f"it carries XDP program {shown} (id {prog_id}), {whose}which is not replaced",
        f"detach that one (`ip link set dev {interface.name} xdp off`, or end what attached it) "
        "and load it with `xdp-loader`, next to which xdp-otel can count; "
        f"or read its own map with --map-name {interface.name}:NAME, --map-id or --map-path",
    )


def _is_ours(prog_id: int) -> bool:
    return bool(prog_id) and _prog_name(prog_id) in libbpf.XDP_PROGRAM_NAMES


def _prog_name(prog_id: int) -> str | None:
    """Return the name of a program, or None if it has ended or CAP_SYS_ADMIN is missing."""
    try:
        info = bpf.prog_info_by_id(prog_id)
    except OSError:
        return None
    return info.name if info else None
