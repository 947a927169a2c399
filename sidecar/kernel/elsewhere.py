# SPDX-License-Identifier: Apache-2.0
"""
Find a program that is attached in another network namespace than ours.

The kernel's info on an XDP or TCX link has the interface's index, which each namespace counts anew, and not
the namespace. So each namespace is entered, and its interfaces are asked for the program, whose id is unique.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import RightsError, SidecarError
from sidecar.kernel import netlink, netns, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.interface import Direction, Interface, index_of, interfaces_with_pins

_NAMED = Path("/run/netns")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Place:
    """
    An interface in another network namespace.

    Attributes:
        interface: Its name there.
        namespace: The namespace as text: `network namespace blue`, or by a process in it.
        path: A file that leads to the namespace; None if it is not known which one it is.

    """

    interface: str
    namespace: str
    path: Path | None

    def __str__(self) -> str:
        return f"{self.interface} in {self.namespace}"


def require_interface(interface: Interface, what: str) -> int:
    """Return the index of an interface; raise SidecarError if it or its network namespace is not there."""
    with netns.entered(interface.netns):
        return index_of(interface, what)


def place_of(link: bpf.LinkInfo, interface: Interface) -> Place | None:
    """
    Return where a link is attached outside of our network namespace; None if it is here, or nowhere.

    *interface* is what its pins are named after.
    """
    if not link.ifindex or link.prog_id in _programs(interface.direction):
        return None
    for namespace, path in _namespaces():
        try:
            with netns.entered(str(path)):
                found = _programs(interface.direction).get(link.prog_id)
        except RightsError:
            break
        except SidecarError:
            continue  # it ended meanwhile
        if found:
            return Place(found, namespace, path)
    return Place(interface.name, "another network namespace", None)


def twins(interface: Interface) -> list[Interface]:
    """Return the interfaces of the same name, in other network namespaces, that have pins of ours."""
    found = interfaces_with_pins()
    return sorted(
        (each for each in found if each.name == interface.name and each != interface),
        key=lambda each: each.netns or "",
    )


def describe(twin: Interface) -> str:
    """Return where an interface with pins of ours is: `eth0 in network namespace blue`."""
    return f"{twin.name} in network namespace {twin.netns}" if twin.netns else f"{twin.name} without --netns"


def _programs(direction: Direction) -> dict[int, str]:
    """Return the interface of each XDP program, or TCX egress program, in this thread's network namespace."""
    links = netlink.links()
    if direction == "receive":
        return {program: link.name for link in links for _, program in link.programs}
    return {program: link.name for link in links for program in _tcx_programs(link.ifindex)}


def _tcx_programs(ifindex: int) -> tuple[int, ...]:
    try:
        return bpf.tcx_prog_ids(ifindex, uapi.ATTACH_TCX_EGRESS)
    except OSError:
        return ()  # it is gone, or we may not know


def _namespaces() -> Iterator[tuple[str, Path]]:
    """Yield the network namespaces that have a name, then those of processes, each once and never ours."""
    seen = {_identity(_PROC / "self/ns/net")}
    for namespace, path in (*_named(), *_of_processes()):
        identity = _identity(path)
        if identity is not None and identity not in seen:
            seen.add(identity)
            yield namespace, path


def _named() -> Iterator[tuple[str, Path]]:
    for path in _entries(_NAMED):
        yield f"network namespace {path.name}", path


def _of_processes() -> Iterator[tuple[str, Path]]:
    for path in _entries(_PROC):
        if path.name.isdigit():
            yield f"the network namespace of process {path.name}", path / "ns/net"


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
