# SPDX-License-Identifier: Apache-2.0
"""
The door to bpf(2): one function per command, through ctypes.

Structures and constants follow `union bpf_attr` and `enum bpf_cmd` of the kernel's
`include/uapi/linux/bpf.h`. Every function raises OSError with the kernel's errno; the caller adds the object
and the remedy, and closes the file descriptors.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from sidecar.kernel import uapi
from sidecar.kernel.map_kinds import MapKind, kind_of


@dataclass(frozen=True)
class MapInfo:
    """`struct bpf_map_info`; sizes are in bytes."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int
    flags: int = 0

    @property
    def kind(self) -> MapKind:
        """How a map of this type is read."""
        return kind_of(self.type)


@dataclass(frozen=True)
class ProgInfo:
    """
    `struct bpf_prog_info`; `load_time_ns` is on CLOCK_BOOTTIME.

    The runs, and the time they took, are those while statistics were on (`enable_stats`).
    """

    id: int
    name: str
    load_time_ns: int
    map_ids: tuple[int, ...]
    type: int = 0
    runs: int = 0
    run_time_ns: int = 0
    btf_id: int = 0


@dataclass(frozen=True)
class LinkInfo:
    """`struct bpf_link_info` of an XDP or TCX link; `ifindex` is 0 once the interface is gone."""

    id: int
    prog_id: int
    ifindex: int


_Info = TypeVar("_Info")

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
_NUMBER = uapi.SYS_BPF.get((platform.machine(), ctypes.sizeof(ctypes.c_void_p)))

# The names of file descriptors (kernel/bpf/syscall.c, `anon_inode_getfd`).
_OBJECT_KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf-link": "link", "bpf_link": "link"}


def call(command: int, attr: ctypes.Structure) -> int:
    """Issue one command of `enum bpf_cmd` and return its result; raise OSError with the kernel's errno."""
    if _NUMBER is None:
        raise OSError(errno.ENOSYS, f"unknown system call number of bpf(2) on {platform.machine()}")
    result: int = _syscall(_NUMBER, command, ctypes.addressof(attr), ctypes.sizeof(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def map_lookup(map_fd: int, key: bytes, value_bytes: int) -> bytes:
    """
    Return one value; raise FileNotFoundError if the key is absent.

    *value_bytes* is the size of the whole result: for a per-CPU map the padded value times the possible CPUs.
    """
    value = ctypes.create_string_buffer(value_bytes)
    map_lookup_into(map_fd, ctypes.create_string_buffer(key, len(key)), value)
    return value.raw


def map_lookup_into(
    map_fd: int, key: "ctypes.Array[ctypes.c_char]", value: "ctypes.Array[ctypes.c_char]"
) -> None:
    """Look up *key* into *value*, a buffer as large as the result."""
    call(uapi.MAP_LOOKUP_ELEM, uapi.MapElem(map_fd, ctypes.addressof(key), ctypes.addressof(value), 0))


def map_next_key(map_fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """Return the key after *key* (after None, the first), or None at the end."""
    following = ctypes.create_string_buffer(key_size)
    current = ctypes.create_string_buffer(key, key_size) if key is not None else None
    try:
        call(
            uapi.MAP_GET_NEXT_KEY,
            uapi.MapElem(map_fd, ctypes.addressof(current) if current else 0, ctypes.addressof(following), 0),
        )
    except FileNotFoundError:
        return None
    return following.raw


def map_lookup_batch(
    map_fd: int,
    cursor_in: "ctypes.Array[ctypes.c_char] | None",
    cursor_out: "ctypes.Array[ctypes.c_char]",
    keys: int,
    values: int,
    count: int,
) -> tuple[int, int]:
    """
    Read up to *count* entries to the addresses *keys* and *values*.

    Return the number of entries read and the errno: 0, ENOENT at the end of the map, ENOSPC if a bucket of
    the hash has more than *count* entries (kernel/bpf/hashtab.c, `__htab_map_lookup_and_delete_batch`), or
    any other.
    """
    attr = uapi.MapBatch(
        in_batch=ctypes.addressof(cursor_in) if cursor_in is not None else 0,
        out_batch=ctypes.addressof(cursor_out),
        keys=keys,
        values=values,
        count=count,
        map_fd=map_fd,
    )
    try:
        call(uapi.MAP_LOOKUP_BATCH, attr)
    except OSError as error:
        return attr.count, error.errno or errno.EIO
    return attr.count, 0


def is_bpffs(path: str) -> bool:
    """Return whether a path is in a mounted bpffs; raise OSError if it does not exist."""
    # struct statfs begins with f_type, a long on all architectures, and has at most 120 bytes.
    buffer = (ctypes.c_long * 32)()
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(buffer[0]) == uapi.BPF_FS_MAGIC


def object_kind(fd: int) -> str:
    """Return what an open BPF object is: map, program, link, or object; raise OSError without /proc."""
    name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
    return _OBJECT_KINDS.get(name.removeprefix("anon_inode:"), "object")


def obj_pin(fd: int, path: str) -> None:
    """Pin a map, program or link in bpffs; raise FileExistsError if the name is taken."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(uapi.OBJ_PIN, uapi.Obj(ctypes.addressof(name), fd, 0))


def obj_get(path: str, *, readonly: bool = False) -> int:
    """Open a pinned object; *readonly*, for maps, requests read access only."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return call(uapi.OBJ_GET, uapi.Obj(ctypes.addressof(name), 0, uapi.F_RDONLY if readonly else 0))


def _ids(command: int) -> Iterator[int]:
    attr = uapi.GetId(0)
    while True:
        try:
            call(command, attr)
        except FileNotFoundError:
            return
        yield attr.next_id
        attr = uapi.GetId(attr.next_id)


def map_ids() -> Iterator[int]:
    """Yield the ids of all maps; needs CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_obj_get_next_id`)."""
    return _ids(uapi.MAP_GET_NEXT_ID)


def prog_ids() -> Iterator[int]:
    """Yield the ids of all programs; needs CAP_SYS_ADMIN."""
    return _ids(uapi.PROG_GET_NEXT_ID)


def map_fd_by_id(map_id: int, *, readonly: bool = True) -> int:
    """Open a map by its id; needs CAP_SYS_ADMIN; raise FileNotFoundError if it does not exist."""
    return call(uapi.MAP_GET_FD_BY_ID, uapi.GetId(map_id, 0, uapi.F_RDONLY if readonly else 0))


def prog_fd_by_id(prog_id: int) -> int:
    """Open a program by its id; needs CAP_SYS_ADMIN; raise FileNotFoundError if it does not exist."""
    return call(uapi.PROG_GET_FD_BY_ID, uapi.GetId(prog_id))


def _info(fd: int, info: ctypes.Structure) -> None:
    call(uapi.OBJ_GET_INFO_BY_FD, uapi.InfoByFd(fd, ctypes.sizeof(info), ctypes.addressof(info)))


def map_info(map_fd: int) -> MapInfo:
    """Return the info of an open map."""
    raw = uapi.RawMapInfo()
    _info(map_fd, raw)
    return MapInfo(
        id=raw.id,
        type=raw.type,
        name=raw.name.decode(errors="replace"),
        key_size=raw.key_size,
        value_size=raw.value_size,
        max_entries=raw.max_entries,
        btf_id=raw.btf_id,
        btf_key_type_id=raw.btf_key_type_id,
        btf_value_type_id=raw.btf_value_type_id,
        flags=raw.map_flags,
    )


def prog_info(prog_fd: int) -> ProgInfo:
    """Return the info of an open program, including the ids of its maps."""
    raw = uapi.RawProgInfo()
    _info(prog_fd, raw)
    count, kind = raw.nr_map_ids, raw.type
    ids = (ctypes.c_uint32 * count)()
    if count:
        # The second call asks for the ids alone: any other length left in the structure would ask for more.
        raw = uapi.RawProgInfo(nr_map_ids=count, map_ids=ctypes.addressof(ids))
        _info(prog_fd, raw)
    return ProgInfo(
        id=raw.id,
        name=raw.name.decode(errors="replace"),
        load_time_ns=raw.load_time,
        map_ids=tuple(ids)[: raw.nr_map_ids],
        type=kind,
        runs=raw.run_cnt,
        run_time_ns=raw.run_time_ns,
        btf_id=raw.btf_id,
    )


def enable_stats() -> int:
    """
    Have the kernel count the runs of all programs, and measure them, until the returned descriptor is closed.

    This needs CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_enable_stats`). Kernels before 5.8 answer EINVAL.
    """
    return call(uapi.ENABLE_STATS, uapi.EnableStats(uapi.STATS_RUN_TIME))


def map_info_by_id(map_id: int) -> MapInfo | None:
    """Return the info of a map, or None if it no longer exists; needs CAP_SYS_ADMIN."""
    return _by_id(map_fd_by_id, map_info, map_id)


def prog_info_by_id(prog_id: int) -> ProgInfo | None:
    """Return the info of a program, or None if it no longer exists; needs CAP_SYS_ADMIN."""
    return _by_id(prog_fd_by_id, prog_info, prog_id)


def maps() -> Iterator[MapInfo]:
    """Yield the info of every map; needs CAP_SYS_ADMIN."""
    return filter(None, map(map_info_by_id, map_ids()))


def programs() -> Iterator[ProgInfo]:
    """Yield the info of every loaded program; needs CAP_SYS_ADMIN."""
    return filter(None, map(prog_info_by_id, prog_ids()))


def _by_id(open_by_id: Callable[[int], int], info: Callable[[int], _Info], number: int) -> _Info | None:
    try:
        fd = open_by_id(number)
    except FileNotFoundError:
        return None  # it ended between listing and opening
    try:
        return info(fd)
    finally:
        os.close(fd)


def btf_of(btf_id: int) -> bytes:
    """
    Return the raw data of a BTF object.

    This needs CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_btf_get_fd_by_id`).
    """
    fd = call(uapi.BTF_GET_FD_BY_ID, uapi.GetId(btf_id))
    try:
        raw = uapi.RawBtfInfo()
        _info(fd, raw)
        data = ctypes.create_string_buffer(raw.btf_size)
        _info(fd, uapi.RawBtfInfo(btf=ctypes.addressof(data), btf_size=raw.btf_size))
        return data.raw
    finally:
        os.close(fd)


def tcx_prog_ids(ifindex: int, attach_type: int) -> tuple[int, ...]:
    """
    Return the ids of the TCX programs on an interface of this network namespace, in their order.

    This needs CAP_NET_ADMIN (kernel/bpf/syscall.c, `bpf_prog_query`). Kernels without TCX answer EINVAL.
    """
    ids = (ctypes.c_uint32 * uapi.MPROG_MAX)()
    attr = uapi.ProgQuery(ifindex, attach_type, prog_ids=ctypes.addressof(ids), count=uapi.MPROG_MAX)
    call(uapi.PROG_QUERY, attr)
    return tuple(ids)[: attr.count]


def link_info(link_fd: int) -> LinkInfo:
    """Return the info of an open XDP or TCX link."""
    raw = _raw_link_info(link_fd)
    return LinkInfo(id=raw.id, prog_id=raw.prog_id, ifindex=raw.ifindex)


def extensions_of(prog_id: int) -> Iterator[int]:
    """
    Yield the ids of the programs of type `ext` that are attached to a program; needs CAP_SYS_ADMIN.

    Before Linux 5.13 their links do not tell.
    """
    for link_id in _ids(uapi.LINK_GET_NEXT_ID):
        raw = _by_id(_link_fd_by_id, _raw_link_info, link_id)
        if raw and raw.type == uapi.LINK_TYPE_TRACING and raw.target_obj_id == prog_id:
            program = prog_info_by_id(raw.prog_id)
            # Of other tracing programs, the target is the id of a BTF object.
            if program and program.type == uapi.PROG_TYPE_EXT:
                yield program.id


def _link_fd_by_id(link_id: int) -> int:
    return call(uapi.LINK_GET_FD_BY_ID, uapi.GetId(link_id))


def _raw_link_info(link_fd: int) -> uapi.RawLinkInfo:
    raw = uapi.RawLinkInfo()
    _info(link_fd, raw)
    return raw


def link_create_xdp(prog_fd: int, ifindex: int, flags: int) -> int:
    """Attach a program to an interface by a bpf_link; raise OSError EBUSY if it has another program."""
    return call(uapi.LINK_CREATE, uapi.LinkCreate(prog_fd, ifindex, uapi.ATTACH_XDP, flags))


def link_create_tcx(prog_fd: int, ifindex: int, attach_type: int, flags: int) -> int:
    """Attach a program to a TCX hook of an interface by a bpf_link, next to the programs there."""
    return call(uapi.LINK_CREATE, uapi.LinkCreate(prog_fd, ifindex, attach_type, flags))


def link_update(link_fd: int, prog_fd: int) -> None:
    """Replace the program of a link atomically: no packet bypasses both."""
    call(uapi.LINK_UPDATE, uapi.LinkUpdate(link_fd, prog_fd, 0, 0))


def link_detach(link_fd: int) -> None:
    """Detach a link from its interface even if other processes hold it."""
    call(uapi.LINK_DETACH, uapi.LinkFd(link_fd))
