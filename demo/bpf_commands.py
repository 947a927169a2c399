# SPDX-License-Identifier: Apache-2.0
"""The commands of bpf(2) that the sidecar never issues: to make a map, to write to it, to run a program."""

import ctypes
import struct
from dataclasses import dataclass

from sidecar.kernel import syscall, uapi

# enum bpf_cmd
_MAP_CREATE = 0
_MAP_UPDATE_ELEM = 2
_MAP_UPDATE_BATCH = 26
_MAP_DELETE_ELEM = 3
_PROG_TEST_RUN = 10


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * uapi.OBJ_NAME_LEN),
    )


class _ProgTestRun(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class RunResult:
    """The result of BPF_PROG_TEST_RUN: the return value, the mean ns per run, and the frame afterwards."""

    retval: int
    duration_ns: int
    data_out: bytes


def map_create(
    map_type: int, *, key_size: int, value_size: int, max_entries: int, name: str = "", flags: int = 0
) -> int:
    """Create a map and return its file descriptor; *name* is cut at 15 bytes."""
    attr = _MapCreate(map_type, key_size, value_size, max_entries, flags)
    attr.map_name = name.encode()[: uapi.OBJ_NAME_LEN - 1]
    return syscall.call(_MAP_CREATE, attr)


def map_update(map_fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write one value; for a per-CPU map *value* holds a padded slot for each possible CPU."""
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value_buffer = ctypes.create_string_buffer(value, len(value))
    map_update_from(map_fd, key_buffer, value_buffer, flags)


def map_update_from(
    map_fd: int, key: "ctypes.Array[ctypes.c_char]", value: "ctypes.Array[ctypes.c_char]", flags: int = 0
) -> None:
    """Write one value from buffers of the caller's, which can be used again."""
    attr = uapi.MapElem(map_fd, ctypes.addressof(key), ctypes.addressof(value), flags)
    syscall.call(_MAP_UPDATE_ELEM, attr)


def map_update_batch(map_fd: int, keys: bytes, values: bytes, count: int) -> None:
    """Write *count* values, one after the other; per-CPU arrays take that from Linux 5.13 on."""
    # They must stay until the call has returned.
    key_buffer, value_buffer = (ctypes.create_string_buffer(each, len(each)) for each in (keys, values))
    attr = uapi.MapBatch(
        keys=ctypes.addressof(key_buffer), values=ctypes.addressof(value_buffer), count=count, map_fd=map_fd
    )
    syscall.call(_MAP_UPDATE_BATCH, attr)


def map_delete(map_fd: int, key: bytes) -> None:
    """Delete a key of a hash; raise FileNotFoundError if it is absent."""
    buffer = ctypes.create_string_buffer(key, len(key))
    syscall.call(_MAP_DELETE_ELEM, uapi.MapElem(map_fd, ctypes.addressof(buffer), 0, 0))


def prog_test_run(prog_fd: int, data: bytes, *, repeat: int = 1, linear: int | None = None) -> RunResult:
    """
    Run an XDP program on a frame, on this thread's CPU.

    A frame that does not fit in one page is run as a multi-buffer packet if the program accepts those; with
    *linear* only so many bytes lie in its linear part, whatever its size.
    """
    # struct xdp_md: the first two of its six u32 are data and data_end.
    context = b"" if linear is None else struct.pack("=6I", 0, linear, 0, 0, 0, 0)
    return _run(prog_fd, data, repeat, context)


def tcx_test_run(
    prog_fd: int, data: bytes, *, repeat: int = 1, gso: tuple[int, int, int] = (0, 0, 0)
) -> RunResult:
    """
    Run a TCX program on a frame, on this thread's CPU.

    *gso* is `wire_len`, `gso_segs` and `gso_size` of `struct __sk_buff`: bytes on the wire (0: as in the
    frame), segments, and the payload of each in bytes.
    """
    return _run(prog_fd, data, repeat, struct.pack("=160xII8xI12x", *gso))


def _run(prog_fd: int, data: bytes, repeat: int, context: bytes) -> RunResult:
    frame = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(len(data) + 256)
    ctx = ctypes.create_string_buffer(context, len(context))
    attr = _ProgTestRun(
        prog_fd=prog_fd,
        data_size_in=len(data),
        data_size_out=len(out),
        data_in=ctypes.addressof(frame),
        data_out=ctypes.addressof(out),
        repeat=repeat,
        ctx_size_in=len(context),
        ctx_in=ctypes.addressof(ctx) if context else 0,
    )
    syscall.call(_PROG_TEST_RUN, attr)
    return RunResult(attr.retval, attr.duration, out.raw[: attr.data_size_out])
