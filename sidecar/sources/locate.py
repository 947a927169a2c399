# SPDX-License-Identifier: Apache-2.0
"""Find the map that the user named: by pin, by name, by id, or on an interface."""

import errno
import logging
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from sidecar.describe.map_shape import shape_by_btf
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Shape
from sidecar.describe.spec import SourceSpec
from sidecar.errors import KernelError, SidecarError, SourceError, explain, from_os_error
from sidecar.kernel import pins, uapi, xdp
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.interface import Interface
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.schema import Schema
from sidecar.sources.source import Locate, Source

log = logging.getLogger(__name__)


def source(spec: SourceSpec, lock: InterfaceLock | None = None) -> Source:
    """Return the source that a specification names, not open yet; *lock* holds an interface, if given."""
    kind, value = spec.place.kind, spec.place.value
    if kind == "interface":
        return _by_interface(spec, Interface(value, spec.place.netns), lock)
    if kind == "pin":
        path = Path(value)
        return _source(f"pin:{value}", spec, _Pin(path).open, pin=path)
    if kind == "name":
        return _source(f"name:{value}", spec, partial(_open_name, value))
    return _source(f"id:{value}", spec, lambda _: _open_id(int(value)), follow=False)


def _by_interface(spec: SourceSpec, interface: Interface, lock: InterfaceLock | None) -> Source:
    """Attach the shipped program at each turn, if it is not attached already, and read its map."""
    pin = _Pin(interface.map_pin)

    def locate(present: bpf.MapInfo | None) -> int | None:
        if lock:
            lock.hold()
        xdp.attach(interface)
        fd = pin.open(present)
        try:
            if lock:
                lock.opened_ours()
        except SourceError:
            if fd is not None:
                os.close(fd)
            raise
        return fd

    return _source(
        f"interface:{interface}", with_interface_name(spec, interface), locate, pin=interface.map_pin
    )


def with_interface_name(spec: SourceSpec, interface: Interface) -> SourceSpec:
    """Return *spec* with the interface's name on all its series, unless the user says one himself."""
    name = ("network.interface.name", interface.name)
    return spec if name[0] in dict(spec.attributes) else replace(spec, attributes=(name, *spec.attributes))


def _source(
    name: str, spec: SourceSpec, locate: Locate, *, pin: Path | None = None, follow: bool = True
) -> Source:
    return Source(name, locate, partial(schema, spec), partial(_counting_since_ns, pin=pin), follow=follow)


def schema(spec: SourceSpec, info: bpf.MapInfo) -> Schema:
    """Return what a specification makes of a map; raise SidecarError if it does not fit."""
    known, unusable = shape(info)
    return resolve(spec, info, known, unusable=unusable)


def shape(info: bpf.MapInfo) -> tuple[Shape | None, str]:
    """
    Return what a map's key and value look like, or None if it has no BTF, or none that we may read.

    And why the BTF that it has is of no use, where that is so.
    """
    try:
        return shape_by_btf(info), ""
    except PermissionError as error:
        log.debug("read BTF of map %s (id %d): %s: going on without", info.name, info.id, explain(error))
        return None, ""
    except OSError as error:
        return None, explain(error)
    except ValueError as error:
        return None, str(error)


class _Pin:
    """A pin, and which file it was when it was last opened: a file of bpffs is one object for ever."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was: tuple[int, object] | None = None

    def open(self, present: bpf.MapInfo | None) -> int | None:
        """Return the map, or None if the file is the one by which *present* was opened."""
        file = self._file()
        if present and self._was == (present.id, file):
            return None
        fd = _open_pin(self._path)
        try:
            self._was = (bpf.map_info(fd).id, file) if file else None
        except OSError as error:
            os.close(fd)
            raise _pin_error(f"open map pinned at {self._path}", self._path, error) from error
        return fd

    def _file(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  # cheaper, and this is asked each cycle
        except OSError:
            return None  # which opening it explains
        return found.st_dev, found.st_ino, found.st_ctime_ns


def _open_pin(path: Path) -> int:
    what = f"open map pinned at {path}"
    try:
        if not bpf.is_bpffs(str(path)):
            raise SourceError(what, "not a pinned map: not in a bpffs", "`mount -t bpf` shows where bpffs is")
        if path.is_dir():
            how = f"name a pin in it: `ls {path}` shows them"
            raise SourceError(what, "not a pinned map: a directory", how)
        fd = bpf.obj_get(str(path), readonly=True)
    except OSError as error:
        raise _pin_error(what, path, error) from error
    try:
        if not bpf.is_map(fd):
            cause = "not a pinned map: a program or a link"
            raise SourceError(what, cause, "`ls /sys/fs/bpf` shows the pins")
    except OSError as error:
        os.close(fd)
        raise KernelError(what, f"look at it in /proc: {explain(error)}", "mount proc at /proc") from error
    except SourceError:
        os.close(fd)
        raise
    return fd


def _pin_error(what: str, path: Path, error: OSError) -> SidecarError:
    if isinstance(error, PermissionError) and pins.is_dotted(path):
        remedy = "`ls /sys/fs/bpf` shows the pins: libbpf pins map `.bss` as `_bss`"
        return SourceError(what, pins.DOTTED, remedy)
    # A path that leads nowhere, also since we looked: it may come back.
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        how = "`ls /sys/fs/bpf` shows the pins; is bpffs mounted, the program loaded?"
        return SourceError(what, explain(error), how)
    return from_os_error(what, error, rights=_pin_rights(error), otherwise="name a pinned map")


def _pin_rights(error: OSError) -> str:
    # EACCES is bpffs' answer, EPERM that of kernels before 5.19, which want CAP_BPF for each call.
    if error.errno == errno.EPERM:
        return remedy(Capability.BPF)
    return f"{remedy(Capability.DAC_READ_SEARCH)}; or as the owner or the group of the pin"


def _id_rights() -> str:
    return f"{remedy(Capability.SYS_ADMIN)}; or pin the map for --map-path"


def _open_id(map_id: int) -> int:
    what = f"open map id {map_id}"
    try:
        return bpf.map_fd_by_id(map_id)
    except FileNotFoundError:
        raise SourceError(what, "no such map", "`xdp-otel discover` shows the ids") from None
    except OSError as error:
        raise from_os_error(
            what, error, rights=_id_rights(), otherwise="`xdp-otel discover` shows the ids"
        ) from error


def _open_name(name: str, present: bpf.MapInfo | None) -> int:
    what = f"find map {name}"
    # The kernel keeps 15 bytes of a name.
    kept = os.fsencode(name)[: uapi.OBJ_NAME_LEN - 1].decode(errors="replace")
    try:
        found = [info for info in map(bpf.map_info_by_id, bpf.map_ids()) if info and info.name == kept]
        if present and len(found) > 1:
            found = _successors(found, present)
    except OSError as error:
        raise from_os_error(what, error, rights=_id_rights(), otherwise="name it by --map-id") from error
    if not found:
        raise SourceError(
            what, "no map has that name", "`xdp-otel discover` shows the names; is the program loaded?"
        )
    if len(found) > 1:
        several = ", ".join(
            f"id {info.id} ({info.kind.name}, value {info.value_size} bytes)" for info in found
        )
        raise SourceError(what, f"{len(found)} maps have that name: {several}", "choose one by --map-id")
    return _open_id(found[0].id)


def _successors(found: list[bpf.MapInfo], present: bpf.MapInfo) -> list[bpf.MapInfo]:
    """Leave out the map that is open, which we alone keep alive, unless a program still counts in it."""
    programs = filter(None, map(bpf.prog_info_by_id, bpf.prog_ids()))
    if any(present.id in program.map_ids for program in programs):
        return [present]
    return [info for info in found if info.id != present.id]


def _counting_since_ns(map_id: int, pin: Path | None = None) -> int:
    """
    Return since when a map counts, Unix ns.

    That is the load time of the oldest program that uses it; where programs may not be listed (that needs
    CAP_SYS_ADMIN) or none does, the time of the pin, or else the time of the boot.
    """
    # A machine without a clock of its own boots at the epoch, where OTLP has no time before, and 0 is none.
    boot_ns = max(1, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    try:
        programs = filter(None, map(bpf.prog_info_by_id, bpf.prog_ids()))
        loaded = [program.load_time_ns for program in programs if map_id in program.map_ids]
    except OSError:
        loaded = []
    if loaded:
        return boot_ns + min(loaded)
    try:
        return pin.stat().st_mtime_ns if pin else boot_ns
    except OSError:
        return boot_ns
