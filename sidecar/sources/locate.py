# SPDX-License-Identifier: Apache-2.0
"""Find the map that a source names: by pin, by name, by id, by interface, or by interface and name."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from sidecar.describe.fitting import resolve_fitting
from sidecar.describe.kernel_btf import shape_by_btf
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Shape
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError, SourceError, explain, from_os_error, place, placed
from sidecar.kernel import pins, uapi, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.attachment import Attachment
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.cpus import possible_cpus
from sidecar.kernel.interface import GONE, Interface, exists
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.schema import Schema
from sidecar.sources.attached import AttachedMap
from sidecar.sources.feeders import Feeders
from sidecar.sources.memory_forecast import forecast
from sidecar.sources.source import CountingSince, Locate, Resolve, Source, info_of
from sidecar.suggest import did_you_mean

if TYPE_CHECKING:
    from sidecar.sources.inner_maps import OuterMap, ShapeOf
    from sidecar.sources.pattern import Pattern

log = logging.getLogger(__name__)

# By their places: each is open once, as long as a source or a pattern refers to it.
_outer_maps: "WeakValueDictionary[MapRef, OuterMap]" = WeakValueDictionary()


def source(spec: SourceSpec, lock: InterfaceLock | None = None) -> Source:
    """Return the source of a specification, not open yet; *lock*, if given, is its interface's."""
    kind, value, name = spec.map_ref.kind, spec.map_ref.value, name_of(spec)
    if interface := interface_of(spec.map_ref):
        return _by_interface(spec, interface, lock)
    if kind == "inner":
        return _inner(name, spec)
    if kind == "attached":
        spec = with_interface_name(spec, Interface(value, spec.map_ref.netns))
    pin = Path(value) if kind == "pin" else None
    return _source(name, spec, _opener(spec.map_ref), pin=pin, follow=kind != "id")


def _opener(place: MapRef) -> Locate:
    """Return what opens a map that is not the shipped program's."""
    if place.kind == "pin":
        return _Pin(Path(place.value)).open
    if place.kind == "name":
        return partial(_open_name, place.value)
    if place.kind == "attached":
        return AttachedMap(Interface(place.value, place.netns), place.map).open
    number = int(place.value)
    return lambda present: None if present and present.id == number else _open_id(number)


def name_of(spec: SourceSpec) -> str:
    """Return the name of a specification's source: `pin:/sys/fs/bpf/flows`, `interface:eth0`."""
    if spec.map_ref.outer:
        return f"{name_of(replace(spec, map_ref=spec.map_ref.outer))}[{_key_text(spec.map_ref.value)}]"
    if spec.map_ref.kind == "attached":
        return f"interface:{Interface(spec.map_ref.value, spec.map_ref.netns)},map:{spec.map_ref.map}"
    return f"{spec.map_ref.kind}:{interface_of(spec.map_ref) or spec.map_ref.value}"


def _key_text(key: str) -> str:
    """Return a key that is given in hex as the number that it is, or in hex if it has more than 8 bytes."""
    raw = bytes.fromhex(key)
    return str(int.from_bytes(raw, sys.byteorder)) if len(raw) in (1, 2, 4, 8) else key


def interface_of(map_ref: MapRef) -> Interface | None:
    """Return the interface that *map_ref* names; None if it names a map."""
    if map_ref.kind != "interface":
        return None
    return Interface(map_ref.value, map_ref.netns, map_ref.direction, map_ref.index, map_ref.counted)


def pattern(spec: SourceSpec) -> "Pattern | None":
    """
    Return what finds the sources that a specification stands for; None if it stands for itself.

    Raises ConfigError if the map is a map of maps, and its key is not what the specification says.
    """
    if not spec.map_ref.is_pattern:
        return _maps_inside(spec)
    # Only those who use patterns pay for them.
    if spec.map_ref.kind == "pin":
        from sidecar.sources.pinned_maps import PinnedMaps  # noqa: PLC0415

        return PinnedMaps(spec)
    if spec.map_ref.kind == "name":
        from sidecar.sources.named_maps import NamedMaps  # noqa: PLC0415

        return NamedMaps(spec)
    from sidecar.sources.interfaces import Interfaces  # noqa: PLC0415

    return Interfaces(spec)


def _maps_inside(spec: SourceSpec) -> "Pattern | None":
    """Return the maps inside a map of maps; None if it is another one, or cannot be opened."""
    if spec.map_ref.kind == "interface":
        return None
    try:
        fd = _opener(spec.map_ref)(None)
    except SidecarError:
        return None  # opening the source says why
    assert fd is not None  # noqa: S101  # only None if it was open
    info = info_of(fd)
    os.close(fd)
    if not info.kind.holds_maps:
        return None
    from sidecar.sources.inner_maps import InnerMaps  # noqa: PLC0415

    return InnerMaps(spec, _outer_map(spec.map_ref))


def expanded(specs: Sequence[SourceSpec]) -> list[tuple[SourceSpec, bool]]:
    """
    Return the specifications with the present members of a pattern in its place, and whether each is one.

    What another one names as well is left out, as in `run`. Raises SidecarError if members are unknown.
    """
    patterns = [(spec, pattern(spec)) for spec in specs]
    found = {name_of(spec): (spec, False) for spec, stands_for in patterns if stands_for is None}
    for spec, stands_for in patterns:
        if stands_for is None:
            continue
        with placed(spec.at):
            for member in stands_for.members():
                found.setdefault(name_of(member), (member, True))
        stands_for.close()
    return list(found.values())


def _by_interface(spec: SourceSpec, interface: Interface, lock: InterfaceLock | None) -> Source:
    """Return a source that reads the shipped program's map and attaches the program whenever it is not."""
    pin, attachment = _Pin(interface.map_pin), Attachment(interface)

    def locate(present: bpf.MapInfo | None) -> int | None:
        # The same file at this path is in the same directory, so that is the one which is locked.
        if present and pin.leads_to(present) and attachment.is_untouched():
            return None
        attachment.look_begins()
        if present and interface.index and not exists(interface):
            return None  # the pattern that it is a member of will see that it has gone
        if lock:
            lock.acquire()
        if interface.index != GONE:
            xdp.attach(interface)
        fd = pin.open(present)
        try:
            if lock:
                lock.require_held()
        except SourceError:
            if fd is not None:
                os.close(fd)
            raise
        attachment.look_ended()
        return fd

    return _source(name_of(spec), with_interface_name(spec, interface), locate, pin=interface.map_pin)


def _inner(name: str, spec: SourceSpec) -> Source:
    """Return a source that reads the map under a key of another one."""
    place = spec.map_ref.outer
    assert place is not None  # noqa: S101  # of this kind
    outer = _outer_map(place)
    return _source(name, spec, outer.opener(bytes.fromhex(spec.map_ref.value)), outer=outer)


def _outer_map(place: MapRef) -> "OuterMap":
    """Return the open map of maps at a place, one for all who read it; raise SidecarError."""
    from sidecar.sources.inner_maps import OuterMap  # noqa: PLC0415

    if (outer := _outer_maps.get(place)) is None:
        outer = _outer_maps[place] = OuterMap(_opener(place))
    return outer


def with_interface_name(spec: SourceSpec, interface: Interface) -> SourceSpec:
    """Return *spec* with `network.interface.name` on all its series, unless the user set that attribute."""
    attribute = ("network.interface.name", interface.name)
    if attribute[0] in dict(spec.attributes):
        return spec
    return replace(spec, attributes=(attribute, *spec.attributes))


def _source(
    name: str,
    spec: SourceSpec,
    locate: Locate,
    *,
    pin: Path | None = None,
    follow: bool = True,
    outer: "OuterMap | None" = None,
) -> Source:
    def find(present: bpf.MapInfo | None) -> int | None:
        try:
            return locate(present)
        except SidecarError as error:
            place(error, spec.at)
            raise

    # What the interface carries is checked, and put right, whenever its map is located.
    watch = None if spec.map_ref.kind == "interface" else Feeders
    since: CountingSince = partial(_counting_since_ns, pin=pin)
    describe: Resolve = partial(schema, spec)
    if outer:
        # Programs refer to the outer map alone.
        watch, since = None, partial(_outer_since_ns, outer)
        describe = partial(_inner_schema, spec, outer)
    return Source(name, find, describe, since, follow=follow, watch=watch, apart=spec.apart)


def _inner_schema(
    spec: SourceSpec, outer: "OuterMap", info: bpf.MapInfo, before: Schema | None = None
) -> Schema:
    """Return which metrics an inner map yields, named after the outer map: its own name may be any."""
    return schema(spec, replace(info, name=outer.info.name), before, partial(outer.shape, by_btf=shape))


def schema(
    spec: SourceSpec,
    info: bpf.MapInfo,
    before: Schema | None = None,
    shape_of: "ShapeOf | None" = None,
) -> Schema:
    """
    Return which metrics a map yields by its specification; raise SidecarError if the two do not fit.

    With *before*, what the map in the same place yielded, those that still fit will do.
    """
    by_btf, unusable = (shape_of or shape)(info)
    try:
        with placed(spec.at):
            resolved = resolve(spec, info, by_btf, unusable=unusable)
    except SidecarError as refusal:
        if before is None:
            raise
        return resolve_fitting(spec, info, by_btf, before, refusal)
    is_unverified = before and by_btf is None and info.btf_value_type_id
    more = [_unverified(info)] if is_unverified else []
    more += filter(None, [forecast(info, resolved, len(possible_cpus()) if info.kind.is_per_cpu else 1)])
    return replace(resolved, warnings=(*resolved.warnings, *more)) if more else resolved


def _unverified(info: bpf.MapInfo) -> str:
    return (
        f"the BTF of map {info.name} (id {info.id}) cannot be read with the capabilities that are left, so "
        "it is taken to have the same fields as the map before: restart the sidecar to have that verified"
    )


def shape(info: bpf.MapInfo) -> tuple[Shape | None, str]:
    """
    Return the shape of a map by its BTF, and why its BTF is unusable (empty if it is not).

    The shape is None if the map has no BTF, or none that we may read or can use.
    """
    try:
        return shape_by_btf(info), ""
    except PermissionError as error:
        log.debug(
            "cannot read BTF of map %s (id %d): %s; continuing without", info.name, info.id, explain(error)
        )
        return None, ""
    except OSError as error:
        return None, explain(error)
    except ValueError as error:
        return None, str(error)


class _Pin:
    """A pin, and the file it was when last opened: a file of bpffs is the same object for its lifetime."""

    def __init__(self, path: Path) -> None:
        self._path, self._name = path, str(path)
        self._last: tuple[int, object] | None = None

    def open(self, present: bpf.MapInfo | None) -> int | None:
        """Return the map, or None if the pin still is the file by which *present* was opened."""
        file = self._file()
        if present and file and self._last == (present.id, file):
            return None
        fd = pins.open_map(self._path)
        self._last = (info_of(fd).id, file) if file else None
        return fd

    def leads_to(self, present: bpf.MapInfo) -> bool:
        """Return whether the pin still is the file by which *present* was opened."""
        return self._last is not None and self._last == (present.id, self._file())

    def _file(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self._name)  # noqa: PTH116  # cheaper, and runs each cycle
        except OSError:
            return None  # opening it will say why
        return status.st_dev, status.st_ino, status.st_ctime_ns


def _id_rights() -> str:
    return f"{remedy(Capability.SYS_ADMIN)}; or pin the map for --map-path"


def _open_id(map_id: int) -> int:
    what, otherwise = f"open map id {map_id}", "`xdp-otel discover` lists the ids"
    try:
        return bpf.map_fd_by_id(map_id)
    except FileNotFoundError:
        raise SourceError(what, "no such map", otherwise) from None
    except OSError as error:
        raise from_os_error(what, error, rights=_id_rights(), otherwise=otherwise) from error


def _open_name(name: str, present: bpf.MapInfo | None) -> int:
    what = f"find map {name}"
    # The kernel keeps 15 bytes of a name.
    kept = os.fsencode(name)[: uapi.OBJ_NAME_LEN - 1].decode(errors="replace")
    try:
        known = list(bpf.maps())
        maps = [info for info in known if info.name == kept]
        if present and len(maps) > 1:
            maps = _successors(maps, present)
    except OSError as error:
        raise from_os_error(what, error, rights=_id_rights(), otherwise="name it by --map-id") from error
    if not maps:
        how = "`xdp-otel discover` lists the names; is the program loaded?"
        names = (info.name for info in known)
        raise SourceError(what, "no map has that name", did_you_mean(name, names, how))
    if len(maps) > 1:
        listed = ", ".join(f"id {info.id} ({info.kind.name}, value {info.value_size} bytes)" for info in maps)
        how = f"choose one by its interface (--map-name IF:{name}), or by --map-id"
        raise SourceError(what, f"{len(maps)} maps have that name: {listed}", how)
    return _open_id(maps[0].id)


def _successors(maps: list[bpf.MapInfo], present: bpf.MapInfo) -> list[bpf.MapInfo]:
    """Leave out the map that is open, which only we may be keeping alive, unless a program still uses it."""
    if any(present.id in program.map_ids for program in bpf.programs()):
        return [present]
    return [info for info in maps if info.id != present.id]


def _outer_since_ns(outer: "OuterMap", _: int) -> int:
    return _counting_since_ns(outer.info.id)


def _counting_since_ns(map_id: int, pin: Path | None = None) -> int:
    """
    Return since when a map has been counting, Unix ns.

    This is the load time of the oldest program that uses it; if no program does, or listing programs is not
    permitted (it needs CAP_SYS_ADMIN), the time of the pin, or else the time of the boot.
    """
    # A machine without a clock boots at the epoch, and OTLP knows no earlier time and takes 0 for none.
    boot_ns = max(1, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    try:
        loaded = [program.load_time_ns for program in bpf.programs() if map_id in program.map_ids]
    except OSError:
        loaded = []
    if loaded:
        return boot_ns + min(loaded)
    try:
        return pin.stat().st_mtime_ns if pin else boot_ns
    except OSError:
        return boot_ns
