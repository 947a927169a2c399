# SPDX-License-Identifier: Apache-2.0
"""
Decide which capabilities the sidecar keeps once it has started.

The rule: keep what a source may need to follow its map, drop everything else (docs/adr/0011). docs/rights.md
lists what each step needs, with the line of the kernel that demands it.
"""

import logging
import os
import platform
import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from sidecar.describe.resolve import resolve
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, explain
from sidecar.kernel import capabilities, dispatcher, libbpf, pins, xdp
from sidecar.kernel.capabilities import Capability
from sidecar.kernel.syscall import MapInfo
from sidecar.sources.locate import interface_of

log = logging.getLogger(__name__)


def drop(
    opened: Sequence[tuple[SourceSpec, MapInfo]],
    state_dir: Path,
    port: int | None,
    certificates: Sequence[str] = (),
    patterns: Sequence[SourceSpec] = (),
    also: AbstractSet[Capability] = frozenset(),
) -> None:
    """
    Drop, for good, the capabilities that the open sources, and those that come later, no longer need.

    Call this before the first thread starts: it would keep them all. *port* is the status endpoint's, if it
    has one; *certificates* are files that are read again when they change; *patterns* stand for many, of
    which some may be open and others come later. *also* is kept for other purposes.
    """
    places = [spec.map_ref for spec in (*(spec for spec, _ in opened), *patterns)]
    try:
        machine = probe(opened, state_dir, port, certificates)
        kept = capabilities.keep_only(needed(places, _with_hidden(machine, patterns)) | also)
    except OSError as error:
        # The seccomp profile forbids it, such as one of systemd's `~@privileged`.
        log.warning(
            "cannot drop capabilities: %s: continuing with them: allow capset(2) in the seccomp profile",
            explain(error),
        )
        return
    log.info("capabilities kept: %s", ", ".join(map(str, kept)) or "none")


@dataclass(frozen=True)
class Machine:
    """
    What the choice of capabilities depends on.

    Attributes:
        kernel: The version, (5, 14).
        reading_needs_bpf: Reading an open map needs CAP_BPF.
        writes_as_other: Writing to one of our directories needs CAP_DAC_OVERRIDE.
        reads_as_other: Reading a certificate needs CAP_DAC_READ_SEARCH.
        binds_low_port: The status endpoint has a port below 1024.
        shared: The interfaces (as `str(MapRef)`) where libxdp's dispatcher calls our program.
        known_by_btf: The places of maps whose fields only BTF describes.

    """

    kernel: tuple[int, int]
    reading_needs_bpf: bool
    writes_as_other: bool = False
    reads_as_other: bool = False
    binds_low_port: bool = False
    shared: frozenset[str] = frozenset()
    known_by_btf: frozenset[str] = frozenset()


def to_open(place: MapRef, kernel: tuple[int, int]) -> set[Capability]:
    """
    Return the capabilities that root needs to open a place; the Helm chart grants these for its sources.

    File permissions, libxdp and hidden BTF may take more, which the chart leaves to `sidecar.capabilities`.
    """
    if place.kind == "pin":
        # Before Linux 5.19; and the seccomp profiles of container runtimes allow bpf(2) only with it.
        return {Capability.BPF}
    if place.kind in ("name", "id", "attached", "inner") or place.netns:
        return {Capability.SYS_ADMIN}  # which bpf_prog_load accepts in place of the others
    return {*libbpf.LOAD_RIGHTS, *([Capability.PERFMON] if kernel < (5, 18) else [])}


def needed(places: Iterable[MapRef], machine: Machine) -> frozenset[Capability]:
    """Return the capabilities that reading and following these places may still need."""
    keep: set[Capability] = set()
    for place in places:
        keep |= _for_place(place, machine)
    if machine.reading_needs_bpf:
        keep.add(Capability.BPF)
    if machine.writes_as_other:
        keep.add(Capability.DAC_OVERRIDE)
    if machine.reads_as_other:
        keep.add(Capability.DAC_READ_SEARCH)
    if machine.binds_low_port:
        keep.add(Capability.NET_BIND_SERVICE)
    return frozenset(keep)


def probe(
    opened: Sequence[tuple[SourceSpec, MapInfo]],
    state_dir: Path,
    port: int | None,
    certificates: Sequence[str] = (),
) -> Machine:
    """Probe this machine, once the sources are open; raise OSError if capset(2) is forbidden."""
    places = [spec.map_ref for spec, _ in opened]
    interfaces = {str(place): interface for place in places if (interface := interface_of(place))}
    written = (state_dir, pins.PIN_ROOT, *(interface.pin_directory for interface in interfaces.values()))
    numbers = re.match(r"([0-9]+)\.([0-9]+)", platform.release())
    with capabilities.suspended():
        writes_as_other = not all(map(_is_writable, written))
        reads_as_other = not all(os.access(path, os.R_OK, effective_ids=True) for path in certificates)
    return Machine(
        kernel=(int(numbers[1]), int(numbers[2])) if numbers else (0, 0),
        reading_needs_bpf=capabilities.reading_needs_bpf(),
        writes_as_other=writes_as_other,
        reads_as_other=reads_as_other,
        binds_low_port=port is not None and 0 < port < 1024,
        shared=frozenset(name for name, interface in interfaces.items() if xdp.is_shared(interface)),
        known_by_btf=frozenset(
            str(spec.map_ref) for spec, info in opened if not _resolves_without_btf(spec, info)
        ),
    )


def _with_hidden(machine: Machine, patterns: Sequence[SourceSpec]) -> Machine:
    """Return the machine with the patterns whose maps, which may come later, only BTF will describe."""
    hidden = {
        str(spec.map_ref)
        for spec in patterns
        if spec.layout is None and (spec.profile is None or spec.profile.layout is None)
    }
    return replace(machine, known_by_btf=machine.known_by_btf | hidden)


def _for_place(place: MapRef, machine: Machine) -> set[Capability]:
    if place.kind == "pin":
        # The next map pinned there has BTF of its own.
        btf = {Capability.SYS_ADMIN} if str(place) in machine.known_by_btf else set()
        return {Capability.DAC_READ_SEARCH} | btf
    if place.kind == "id":
        return set()  # ids are never reused, so there is nothing to follow
    if str(place) in machine.shared:
        return set(dispatcher.RIGHTS)
    return to_open(place, machine.kernel)


def _resolves_without_btf(spec: SourceSpec, info: MapInfo) -> bool:
    # Only resolving shows it: a layout may be missing, or lack a field that a metric names.
    try:
        resolve(spec, info, None)
    except SidecarError:
        return False
    return True


def _is_writable(path: Path) -> bool:
    """Return whether we may create entries in a directory, or in its nearest parent that exists."""
    for directory in (path, *path.parents):
        if os.access(directory, os.F_OK, effective_ids=True):
            return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    return False
