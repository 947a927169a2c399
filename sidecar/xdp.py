# SPDX-License-Identifier: Apache-2.0
"""
Attach the shipped program to an interface, and detach it.

There are two ways: alone (`xdp_link`), or next to others if libxdp manages the interface (`dispatcher`). Both
are pinned in bpffs, as is the map, so the kernel goes on counting while no sidecar runs, and the next one
finds the same map. A program of somebody else is never replaced.
"""

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar import dispatcher, libbpf, netns, pins, reported, xdp_link
from sidecar.capabilities import Capability, remedy
from sidecar.errors import KernelError, RightsError, SourceError, explain

log = logging.getLogger(__name__)


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
    on. Native mode first, generic where the driver has none; next to others, in the mode they are in.

    Raises:
        SourceError: There is no such interface, or it carries somebody else's program.
        RightsError: A capability is missing.
        KernelError: No bpffs, no libbpf, or the kernel refused the program.

    """
    what = f"attach XDP program to {interface.name}"
    with _files_of_bpffs(what), netns.entered(interface.netns):
        ifindex = _ifindex(interface, what)
        if xdp_link.ifindex_of(interface.link_pin) == ifindex or _joined(interface, ifindex):
            return
        present = libbpf.attached(ifindex)
        shared = present.prog_id and dispatcher.pins_of(ifindex, present.prog_id)
        if present.prog_id and not shared:
            raise _foreign(interface, present.prog_id, what)
        _require_bpffs(what)
        interface.pin_directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (
            pins.opened("map", interface.map_pin) as map_fd,
            libbpf.load_packet_counter(reuse_map_fd=map_fd) as program,
        ):
            # The map first: by it what is attached next is known as ours, even if this process ends now.
            if map_fd is None:
                pins.pin(program.map_fd, interface.map_pin)
            if shared:
                how = "by libxdp, next to the programs there"
                dispatcher.join(
                    ifindex, program.map_fd, what, generic=present.generic, frags=program.has_frags
                )
            else:
                mode = xdp_link.attach(program.prog_fd, ifindex, interface.link_pin, what)
                how = f"in {mode} mode"
    frags = "multi-buffer packets too" if program.has_frags else "no multi-buffer packets on this kernel"
    log.info("attached to %s %s (%s), pinned at %s", interface.name, how, frags, interface.pin_directory)


def detach(interface: Interface) -> bool:
    """
    Detach the program and remove the pins; return False if there was nothing to detach.

    Programs next to ours stay. The map ends with its pin, unless a running sidecar still holds it.

    Raises:
        RightsError: A capability, or a permission in bpffs, is missing.
        SourceError: libxdp, by which it was attached, is not installed.

    """
    what = f"detach XDP program from {interface.name}"
    with _files_of_bpffs(what):
        if not interface.pin_directory.exists():
            return False
        xdp_link.detach(interface.link_pin, what)
        _leave(interface, what)
        _unpin_map(interface)
        interface.pin_directory.rmdir()
    return True


def is_shared(interface: Interface) -> bool:
    """Return whether the program counts there next to others, called by libxdp's dispatcher."""
    with netns.entered(interface.netns):
        try:
            ifindex = socket.if_nametoindex(interface.name)
        except OSError:
            return False
        return _joined(interface, ifindex) is not None


def _joined(interface: Interface, ifindex: int) -> Path | None:
    """Return where libxdp pins our program, if its dispatcher on the interface calls it."""
    with pins.opened("map", interface.map_pin) as map_fd:
        if map_fd is None:
            return None
        directory = dispatcher.pins_of(ifindex, libbpf.attached(ifindex).prog_id)
        return dispatcher.find(directory, bpf.map_info(map_fd).id) if directory else None


def _leave(interface: Interface, what: str) -> None:
    with netns.entered(interface.netns):
        try:
            ifindex = socket.if_nametoindex(interface.name)
        except OSError:
            return  # it is gone, and took its programs with it
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


def _foreign(interface: Interface, prog_id: int, what: str) -> SourceError:
    return SourceError(
        what,
        f"it carries XDP program {_prog_name(prog_id)} (id {prog_id}), which is not replaced",
        f"detach that one (`ip link set dev {interface.name} xdp off`, or end what attached it) "
        "and load it by `xdp-loader`, next to which xdp-otel can count; "
        "or read its own map with --map-name, --map-id or --map-path",
    )


def _prog_name(prog_id: int) -> str:
    try:
        info = bpf.prog_info_by_id(prog_id)
    except OSError:
        info = None  # CAP_SYS_ADMIN is missing
    return repr(info.name) if info else "of unknown name"


def _require_bpffs(what: str) -> None:
    if not pins.BPFFS.exists() or not bpf.is_bpffs(str(pins.BPFFS)):
        raise KernelError(what, f"no bpffs at {pins.BPFFS}", f"mount -t bpf bpf {pins.BPFFS}")


@contextmanager
def _files_of_bpffs(what: str) -> Iterator[None]:
    """Say which right is missing where bpffs does not let us make or remove a file."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            how = "mount bpffs read-write (under systemd: ReadWritePaths=/sys/fs/bpf)"
        elif isinstance(error, PermissionError):
            how = remedy(Capability.DAC_OVERRIDE)
        else:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise RightsError(what, explain(error) + where, how) from error
