# SPDX-License-Identifier: Apache-2.0
"""Read an open map: from a file descriptor to the numbers in its values."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from sidecar.counts.cells import cells
from sidecar.counts.columns.table import COLUMNAR_FROM, Table
from sidecar.kernel import syscall as bpf
from sidecar.kernel.cpus import possible_cpus, stride
from sidecar.model import Reading
from sidecar.schema import CPU_BYTES, Schema

_FIRST_BATCH = 4096
# With hundreds of CPUs and large values, a first batch takes no more memory than this.
_BUFFER_BYTES = 4 * 1024 * 1024
_SMALLEST_BATCH = 64
# Kernels before 5.6 (per-CPU arrays: 5.13) answer so, the second by ENOTSUPP, which has no name here.
_NO_BATCH = (errno.EINVAL, 524)
_LONGEST_WALK = 4

Chunk = tuple[bytes, bytes]
"""Some keys, one after the other, and the kernel's answers for them."""


def slots(info: bpf.MapInfo) -> int:
    """Return how many values the kernel answers for one key of a map."""
    return len(possible_cpus()) if info.kind.is_per_cpu else 1


def answer_bytes(info: bpf.MapInfo) -> int:
    """Return the size of the kernel's answer for one key of a map."""
    if info.kind.is_per_cpu:
        return stride(info.value_size) * len(possible_cpus())
    return info.value_size


def read(map_fd: int, info: bpf.MapInfo, schema: Schema) -> Reading:
    """
    Read the fields of every entry of a map.

    Where the schema tells CPUs apart, each CPU's slot of a value becomes an entry of its own.

    Raises:
        OSError: The kernel refused; nothing that was read before is returned, so a failed read never
            looks like a map of zeros.

    """
    if schema.cpu is not None and not info.kind.is_per_cpu:
        raise OSError(errno.EINVAL, "not a per-CPU map")
    if info.kind.is_array and info.max_entries == 1:
        return _reading(_read_one_by_one(map_fd, info), info, schema)
    size = max(_SMALLEST_BATCH, min(_FIRST_BATCH, _BUFFER_BYTES // answer_bytes(info)))
    while True:
        try:
            return _reading(_read_batches(map_fd, info, size), info, schema)
        except OSError as error:
            if error.errno in _NO_BATCH:
                return _reading(_read_one_by_one(map_fd, info), info, schema)
            # A bucket held more keys than the batch: what came before it is not the whole map.
            if error.errno != errno.ENOSPC or size >= info.max_entries:
                raise
        size *= 8


def _reading(chunks: Iterator[Chunk], info: bpf.MapInfo, schema: Schema) -> Reading:
    """Return what lies in the kernel's answers: in columns if it is much."""
    apart = 1 if schema.cpu is None else slots(info)
    columns, begun, rows = schema.columns(slots(info) // apart), [], 0
    for chunk in chunks:
        begun.append(chunk)
        rows += len(chunk[0]) // info.key_size * apart
        if rows > COLUMNAR_FROM:
            return Reading(columns, _table(chain(begun, chunks), info, schema))
    size, count = info.key_size, slots(info)
    if schema.cpu is not None:
        begun = [_by_cpu(keys, values, size) for keys, values in begun]
        size, count = size + CPU_BYTES, 1
    raws = (one for keys, values in begun for one in _rows(keys, values, size))
    return Reading(columns, {key: cells(raw, schema.layout, count) for key, raw in raws})


def _table(chunks: Iterable[Chunk], info: bpf.MapInfo, schema: Schema) -> Table:
    # Small maps need no numpy: it is 12 MB.
    from sidecar.counts.columns import cells as column_cells  # noqa: PLC0415

    names: list[bytes] = []
    parts = []
    for keys, values in chunks:
        count = len(keys) // info.key_size
        if schema.cpu is None:
            names.append(keys)
            parts.append(column_cells.cells(values, count, schema.layout, slots(info)))
        else:
            names.append(column_cells.by_cpu(keys, info.key_size, possible_cpus()))
            parts.append(column_cells.cells(values, count * slots(info), schema.layout, 1))
    size = info.key_size + (CPU_BYTES if schema.cpu is not None else 0)
    return Table(b"".join(names), size, b"".join(chain.from_iterable(zip(*parts, strict=True))))


def _rows(keys: bytes, values: bytes, size: int) -> Iterator[tuple[bytes, bytes]]:
    count = len(keys) // size
    width = len(values) // count if count else 0
    for at in range(count):
        yield keys[at * size : (at + 1) * size], values[at * width : (at + 1) * width]


def _by_cpu(keys: bytes, values: bytes, size: int) -> Chunk:
    """Make each CPU's slot of a value an entry of its own."""
    ends = [cpu.to_bytes(CPU_BYTES, sys.byteorder) for cpu in possible_cpus()]
    each = (keys[at : at + size] for at in range(0, len(keys), size))
    return b"".join(key + end for key in each for end in ends), values


def _read_one_by_one(map_fd: int, info: bpf.MapInfo) -> Iterator[Chunk]:
    found = dict(_read_indices(map_fd, info)) if info.kind.is_array else _walk(map_fd, info)
    yield b"".join(found), b"".join(found.values())


def _walk(map_fd: int, info: bpf.MapInfo) -> dict[bytes, bytes]:
    """
    Read a hash key by key.

    The kernel begins again when the key that it is to go on from was deleted meanwhile
    (kernel/bpf/hashtab.c, `htab_map_get_next_key`), so a map that changes faster than it is read has no end.
    """
    found: dict[bytes, bytes] = {}
    key = bpf.map_next_key(map_fd, None, info.key_size)
    for _ in range(_LONGEST_WALK * info.max_entries):
        if key is None:
            return found
        with suppress(FileNotFoundError):  # deleted since: what it had counted is gone
            found[key] = bpf.map_lookup(map_fd, key, answer_bytes(info))
        key = bpf.map_next_key(map_fd, key, info.key_size)
    raise OSError(errno.EAGAIN, "the map changes faster than it can be read")


def _read_indices(map_fd: int, info: bpf.MapInfo) -> Iterator[tuple[bytes, bytes]]:
    key = ctypes.create_string_buffer(info.key_size)
    value = ctypes.create_string_buffer(answer_bytes(info))
    index = ctypes.c_uint32.from_buffer(key)
    for at in range(info.max_entries):
        index.value = at
        bpf.map_lookup_into(map_fd, key, value)
        yield key.raw, value.raw


def _read_batches(map_fd: int, info: bpf.MapInfo, size: int) -> Iterator[Chunk]:
    size = min(size, info.max_entries)
    width = answer_bytes(info)
    keys = ctypes.create_string_buffer(size * info.key_size)
    values = ctypes.create_string_buffer(size * width)
    # The cursor is a bucket number for a hash and a key for other types: as large as the larger.
    cursor_in, cursor_out = (ctypes.create_string_buffer(max(4, info.key_size)) for _ in range(2))
    started = False
    while True:
        count, code = bpf.map_lookup_batch(
            map_fd,
            cursor_in if started else None,
            cursor_out,
            ctypes.addressof(keys),
            ctypes.addressof(values),
            size,
        )
        if code not in (0, errno.ENOENT):
            raise OSError(code, os.strerror(code))
        yield (
            ctypes.string_at(keys, count * info.key_size),
            ctypes.string_at(values, count * width),
        )
        if code == errno.ENOENT:
            return
        started = True
        cursor_in, cursor_out = cursor_out, cursor_in
