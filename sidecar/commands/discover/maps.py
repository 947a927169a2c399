# SPDX-License-Identifier: Apache-2.0
"""Probe maps without reading their values: type, number of keys, layout, and whether we may read them."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sidecar import bpf_reader
from sidecar.commands.discover import pins
from sidecar.commands.discover.model import FoundMap
from sidecar.commands.discover.pins import Walk
from sidecar.describe.kernel_btf import shape_by_btf
from sidecar.describe.shape import Shape
from sidecar.errors import explain
from sidecar.kernel import syscall as bpf

_MOST_COUNTED = 1000
_RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG, include/uapi/linux/bpf.h


def examine(wanted: set[int], walk: Walk) -> Iterator[FoundMap]:
    """Yield the maps with an id in *wanted* and the pinned maps; skip those that cannot be opened."""
    paths: dict[int, list[Path]] = {}
    for pin in walk.pins:
        if pin.kind == "map":
            paths.setdefault(pin.id, []).append(pin.path)
    for number in sorted(wanted | paths.keys()):
        probed = _by_pin(paths[number][0]) if number in paths else _by_id(number)
        if probed and probed.info.id == number:
            yield replace(probed, pins=tuple(paths.get(number, ())))


def every() -> Iterator[FoundMap]:
    """Yield every map of the kernel that can be opened by its id."""
    try:
        yield from examine(set(bpf.map_ids()), Walk())
    except OSError:
        return


def pinned_at(path: Path) -> int:
    """Return the id of the map that is pinned at a path, whatever leads there; 0 if none is."""
    try:
        with pins.opened(path) as (fd, kind):
            return bpf.map_info(fd).id if kind == "map" else 0
    except OSError:
        return 0


def _by_pin(path: Path) -> FoundMap | None:
    try:
        with pins.opened(path) as (fd, _):
            return probe(fd)
    except OSError:
        return None  # gone since the walk


def _by_id(number: int) -> FoundMap | None:
    try:
        fd = bpf.map_fd_by_id(number)
    except OSError:
        return None
    try:
        return probe(fd)
    finally:
        os.close(fd)


def probe(fd: int) -> FoundMap:
    """Return the description of an open map; raise OSError if the kernel refuses its info."""
    found = FoundMap(bpf.map_info(fd))
    if found.info.kind.holds_maps:
        return _outer(fd, found)
    if not found.supported:
        return replace(found, refused=f"{found.kind} maps are not supported")
    # Read-only for programs: `.rodata` as libbpf creates it.
    if found.info.flags & _RDONLY_PROG:
        return replace(found, refused="constants of the program")
    shape, no_shape = _shape(found.info)
    found = replace(found, shape=shape, no_shape=no_shape)
    try:
        return _counted(fd, found)
    except OSError as error:
        return replace(found, refused=explain(error))


def _outer(fd: int, found: FoundMap) -> FoundMap:
    """Return the description of a map of maps, with one of those inside it."""
    try:
        found = _counted(fd, found)
        for key in sorted(bpf_reader.entries(fd, found.info)):
            inner = _by_id(int.from_bytes(bpf.map_lookup(fd, key, 4), sys.byteorder))
            if inner:
                return replace(found, inner=inner, refused=inner.refused)
    except OSError as error:
        return replace(found, refused=explain(error))
    empty = "opening the maps inside it needs CAP_SYS_ADMIN" if found.entries else "it holds no map"
    return replace(found, refused=empty)


def _counted(fd: int, found: FoundMap) -> FoundMap:
    """Return *found* with its number of keys, counted up to a bound; raise OSError if reading is refused."""
    count, key = 0, None
    while count <= _MOST_COUNTED:
        # If *key* was deleted meanwhile, the iteration restarts at the first key; the bound still holds.
        key = bpf.map_next_key(fd, key, found.info.key_size)
        if key is None:
            break
        count += 1
    if found.is_array:
        return replace(found, entries=found.info.max_entries)
    return replace(found, entries=min(count, _MOST_COUNTED), more=count > _MOST_COUNTED)


def _shape(info: bpf.MapInfo) -> tuple[Shape | None, str]:
    try:
        shape = shape_by_btf(info)
    except PermissionError:
        return None, "reading its BTF needs CAP_SYS_ADMIN"
    except (OSError, ValueError) as error:
        return None, f"its BTF (id {info.btf_id}) cannot be used: {error}"
    return shape, "" if shape else "the map has no BTF"
