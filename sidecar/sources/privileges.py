# SPDX-License-Identifier: Apache-2.0
"""
Decide which capabilities the sidecar keeps once it has started.

The rule: what a source may need again to follow its map stays, everything else goes (docs/adr/0011). What
each step needs, and which line of the kernel says so, is the table in docs/rights.md.
"""

import logging
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.describe.resolve import resolve
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, explain
from sidecar.kernel import capabilities, dispatcher, pins, xdp
from sidecar.kernel.capabilities import Capability
from sidecar.kernel.interface import Interface
from sidecar.kernel.syscall import MapInfo

log = logging.getLogger(__name__)


def give_up(
    opened: Sequence[tuple[SourceSpec, MapInfo]],
    state_dir: Path,
    port: int | None,
    certificates: Sequence[str] = (),
) -> None:
    """
    Give up, for good, the capabilities that these sources, which are open, do not take any more.

    To be called before the first thread is started: it would keep them all. *port* is the status endpoint's,
    if there is one; *certificates* are files that are read again when they change.
    """
    places = [spec.map_ref for spec, _ in opened]
    try:
        kept = capabilities.keep_only(needed(places, look(opened, state_dir, port, certificates)))
    except OSError as error:
        # A seccomp profile without it, such as one of systemd's `~@privileged`.
        log.warning(
            "give up capabilities: %s: going on with them: allow capset(2) in the seccomp profile",
            explain(error),
        )
        return
    log.info("capabilities kept: %s", ", ".join(map(str, kept)) or "none")


@dataclass(frozen=True)
class Machine:
    """
    What is asked of this machine.

    Attributes:
        kernel: Version, (5, 14).
        reading_wants_bpf: Reading an open map takes CAP_BPF.
        writes_as_other: A directory that we write to is closed to us but for CAP_DAC_OVERRIDE.
        reads_as_other: A certificate file is closed to us but for CAP_DAC_READ_SEARCH.
        binds_low_port: The status endpoint has a port below 1024.
        shared: The interfaces (as `str(MapRef)`) where libxdp's dispatcher calls our program.
        known_by_btf: The places whose map's fields nothing but BTF tells.

    """

    kernel: tuple[int, int]
    reading_wants_bpf: bool
    writes_as_other: bool = False
    reads_as_other: bool = False
    binds_low_port: bool = False
    shared: frozenset[str] = frozenset()
    known_by_btf: frozenset[str] = frozenset()


def needed(places: Iterable[MapRef], machine: Machine) -> frozenset[Capability]:
    """Return the capabilities that reading and following these places may still take."""
    keep: set[Capability] = set()
    for place in places:
        keep |= _for_place(place, machine)
    if machine.reading_wants_bpf:
        keep.add(Capability.BPF)
    if machine.writes_as_other:
        keep.add(Capability.DAC_OVERRIDE)
    if machine.reads_as_other:
        keep.add(Capability.DAC_READ_SEARCH)
    if machine.binds_low_port:
        keep.add(Capability.NET_BIND_SERVICE)
    return frozenset(keep)


def look(
    opened: Sequence[tuple[SourceSpec, MapInfo]],
    state_dir: Path,
    port: int | None,
    certificates: Sequence[str] = (),
) -> Machine:
    """Look at this machine, once the sources are open; raise OSError if capset(2) is forbidden."""
    places = [spec.map_ref for spec, _ in opened]
    interfaces = {
        str(place): Interface(place.value, place.netns) for place in places if place.kind == "interface"
    }
    written = (state_dir, pins.PIN_ROOT, *(interface.pin_directory for interface in interfaces.values()))
    numbers = re.match(r"([0-9]+)\.([0-9]+)", platform.release())
    with capabilities.suspended():
        writes_as_other = not all(map(_writable, written))
        reads_as_other = not all(os.access(path, os.R_OK, effective_ids=True) for path in certificates)
    return Machine(
        kernel=(int(numbers[1]), int(numbers[2])) if numbers else (0, 0),
        reading_wants_bpf=capabilities.reading_wants_bpf(),
        writes_as_other=writes_as_other,
        reads_as_other=reads_as_other,
        binds_low_port=port is not None and 0 < port < 1024,
        shared=frozenset(name for name, interface in interfaces.items() if xdp.is_shared(interface)),
        known_by_btf=frozenset(str(spec.map_ref) for spec, info in opened if _known_by_btf(spec, info)),
    )


def _for_place(place: MapRef, machine: Machine) -> set[Capability]:
    if place.kind == "pin":
        # The next map there has BTF of its own.
        btf = {Capability.SYS_ADMIN} if str(place) in machine.known_by_btf else set()
        return {Capability.DAC_READ_SEARCH} | btf
    if place.kind == "name":
        return {Capability.SYS_ADMIN}
    if place.kind == "id":
        return set()  # an id never comes back, so there is nothing to follow
    if str(place) in machine.shared:
        return set(dispatcher.RIGHTS)
    if place.netns:
        return {Capability.SYS_ADMIN}  # which bpf_prog_load takes in place of the others
    load = {Capability.BPF, Capability.NET_ADMIN}
    return load | {Capability.PERFMON} if machine.kernel < (5, 18) else load


def _known_by_btf(spec: SourceSpec, info: MapInfo) -> bool:
    try:
        resolve(spec, info, None)
    except SidecarError:
        return True
    return False


def _writable(path: Path) -> bool:
    """Return whether a directory, or the nearest one above it that exists, lets us make entries."""
    for directory in (path, *path.parents):
        if os.access(directory, os.F_OK, effective_ids=True):
            return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    return False
