# SPDX-License-Identifier: Apache-2.0
"""Find the map that the user named: by pin, by name, by id, or on an interface."""

import os
import time
from functools import partial
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar import bpf_uapi as uapi
from sidecar import xdp
from sidecar.errors import SourceError, explain, from_os_error
from sidecar.model import Layout
from sidecar.source import Source

_PIN_RIGHTS = "run as its owner or group, or with CAP_DAC_READ_SEARCH; older kernels also want CAP_BPF"
_ID_RIGHTS = "run with CAP_SYS_ADMIN, which the kernel wants for names and ids, or pin the map for --map-path"


def by_interface(interface: xdp.Interface, layout: Layout) -> Source:
    """Return a source that attaches the shipped program, if it is not attached already, and reads its map."""

    def locate() -> int:
        xdp.attach(interface)
        return _open_pin(interface.map_pin, layout)

    return Source(
        f"interface:{interface}",
        layout,
        locate,
        partial(_born_ns, pin=interface.map_pin),
        attributes=(("network.interface.name", interface.name),),
    )


def by_pin(path: Path, layout: Layout) -> Source:
    """Return a source that reads the map pinned at *path*, and its successors there."""
    return Source(f"pin:{path}", layout, partial(_open_pin, path, layout), partial(_born_ns, pin=path))


def by_id(map_id: int, layout: Layout) -> Source:
    """Return a source that reads the map with an id."""
    return Source(f"id:{map_id}", layout, partial(_open_id, map_id, layout), _born_ns, follow=False)


def by_name(name: str, layout: Layout) -> Source:
    """Return a source that reads the one map with a name."""
    return Source(f"name:{name}", layout, partial(_open_name, name, layout), _born_ns, follow=False)


def _open_pin(path: Path, layout: Layout) -> int:
    what = f"open map pinned at {path}"
    try:
        in_bpffs = bpf.is_bpffs(str(path))
    except OSError as error:
        raise SourceError(
            what, explain(error), "`ls /sys/fs/bpf` shows the pins; is bpffs mounted, the program loaded?"
        ) from None
    if not in_bpffs:
        raise SourceError(what, "not a pinned map: not in a bpffs", "`mount -t bpf` shows where bpffs is")
    try:
        fd = bpf.obj_get(str(path), readonly=True)
    except OSError as error:
        raise from_os_error(what, error, rights=_PIN_RIGHTS, otherwise="name a pinned map") from error
    return _checked(fd, what, layout)


def _open_id(map_id: int, layout: Layout) -> int:
    what = f"open map id {map_id}"
    try:
        fd = bpf.map_fd_by_id(map_id)
    except FileNotFoundError:
        raise SourceError(what, "no such map", "`bpftool map list` shows the ids") from None
    except OSError as error:
        raise from_os_error(
            what, error, rights=_ID_RIGHTS, otherwise="`bpftool map list` shows the ids"
        ) from error
    return _checked(fd, what, layout)


def _open_name(name: str, layout: Layout) -> int:
    what = f"find map {name}"
    # The kernel keeps 15 bytes of a name.
    kept = os.fsencode(name)[: uapi.OBJ_NAME_LEN - 1].decode(errors="replace")
    try:
        found = [info for info in map(_info_of, bpf.map_ids()) if info and info.name == kept]
    except OSError as error:
        raise from_os_error(what, error, rights=_ID_RIGHTS, otherwise="name it by --map-id") from error
    if not found:
        raise SourceError(
            what, "no map has that name", "`bpftool map list` shows the names; is the program loaded?"
        )
    if len(found) > 1:
        several = ", ".join(f"id {info.id} ({_kind(info)}, value {info.value_size} bytes)" for info in found)
        raise SourceError(what, f"{len(found)} maps have that name: {several}", "choose one by --map-id")
    return _open_id(found[0].id, layout)


def _info_of(map_id: int) -> bpf.MapInfo | None:
    try:
        fd = bpf.map_fd_by_id(map_id)
    except FileNotFoundError:
        return None  # ended between the listing and the opening
    try:
        return bpf.map_info(fd)
    finally:
        os.close(fd)


def _kind(info: bpf.MapInfo) -> str:
    return uapi.MAP_TYPE_NAMES.get(info.type, f"map type {info.type}")


def _checked(fd: int, what: str, layout: Layout) -> int:
    """Return *fd*; close it and raise SourceError if its map has another shape than *layout*."""
    if not bpf.is_map(fd):
        os.close(fd)
        raise SourceError(what, "not a pinned map: a program or a link", "`ls /sys/fs/bpf` shows the pins")
    info = bpf.map_info(fd)
    wrong = _wrong_shape(info, layout)
    if wrong:
        os.close(fd)
        raise SourceError(
            what,
            f"map {info.name!r} (id {info.id}) {wrong}",
            f"name an ARRAY or PERCPU_ARRAY of one entry of {layout.value_size} bytes (struct pkt_stats)",
        )
    return fd


def _wrong_shape(info: bpf.MapInfo, layout: Layout) -> str:
    if info.type not in (uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY):
        return f"is a {_kind(info)}"
    if info.value_size != layout.value_size:
        return f"has values of {info.value_size} bytes"
    if info.max_entries != 1:
        return f"has {info.max_entries} entries"
    return ""


def _born_ns(map_id: int, pin: Path | None = None) -> int:
    """
    Return since when a map counts, Unix ns.

    That is the load time of the oldest program that uses it; where programs may not be listed (that needs
    CAP_SYS_ADMIN) or none does, the time of the pin, or else the time of the boot.
    """
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        programs = filter(None, map(_prog_info, bpf.prog_ids()))
        loaded = [program.load_time_ns for program in programs if map_id in program.map_ids]
    except OSError:
        loaded = []
    if loaded:
        return boot_ns + min(loaded)
    return pin.stat().st_mtime_ns if pin and pin.exists() else boot_ns


def _prog_info(prog_id: int) -> bpf.ProgInfo | None:
    try:
        fd = bpf.prog_fd_by_id(prog_id)
    except FileNotFoundError:
        return None
    try:
        return bpf.prog_info(fd)
    finally:
        os.close(fd)
