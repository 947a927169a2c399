# SPDX-License-Identifier: Apache-2.0
"""Read an open map: from a file descriptor to the numbers in its values."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar.bpf_uapi import ARRAY_TYPES, PER_CPU_TYPES
from sidecar.errors import KernelError
from sidecar.model import Reading
from sidecar.percpu import cells, parse_cpu_list, stride
from sidecar.schema import CPU_BYTES, Schema

_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_FIRST_BATCH = 4096
# With hundreds of CPUs and large values, a first batch takes no more memory than this.
_BUFFER_BYTES = 4 * 1024 * 1024
_SMALLEST_BATCH = 64
# Kernels before 5.6 (per-CPU arrays: 5.13) answer so, the second by ENOTSUPP, which has no name here.
_NO_BATCH = (errno.EINVAL, 524)
_LONGEST_WALK = 4


@cache
def possible_cpus() -> tuple[int, ...]:
    """
    Return the numbers of the possible CPUs, which never change while the kernel runs.

    Raises:
        KernelError: The kernel's list cannot be read or understood.

    """
    try:
        return parse_cpu_list(_POSSIBLE.read_text())
    except (OSError, ValueError) as error:
        raise KernelError(f"count possible CPUs in {_POSSIBLE}", str(error), "mount sysfs at /sys") from error


def slots(info: bpf.MapInfo) -> int:
    """Return how many values the kernel answers for one key of a map."""
    return len(possible_cpus()) if info.type in PER_CPU_TYPES else 1


def answer_bytes(info: bpf.MapInfo) -> int:
    """Return the size of the kernel's answer for one key of a map."""
    if info.type in PER_CPU_TYPES:
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
    count = slots(info)
    if schema.cpu is None:
        found = {key: cells(raw, schema.layout, count) for key, raw in read_raw(map_fd, info)}
        return Reading(schema.columns(count), found)
    by_cpu = (one for key, raw in read_raw(map_fd, info) for one in _by_cpu(key, raw, info))
    return Reading(schema.columns(1), {key: cells(raw, schema.layout, 1) for key, raw in by_cpu})


def _by_cpu(key: bytes, raw: bytes, info: bpf.MapInfo) -> Iterator[tuple[bytes, bytes]]:
    if info.type not in PER_CPU_TYPES:
        raise OSError(errno.EINVAL, "not a per-CPU map")
    step = stride(info.value_size)
    for at, cpu in enumerate(possible_cpus()):
        yield key + cpu.to_bytes(CPU_BYTES, sys.byteorder), raw[at * step : (at + 1) * step]


def read_raw(map_fd: int, info: bpf.MapInfo) -> Sequence[tuple[bytes, bytes]]:
    """Return each key with the kernel's whole answer for it, each key once; raise OSError as `read` does."""
    size = max(_SMALLEST_BATCH, min(_FIRST_BATCH, _BUFFER_BYTES // answer_bytes(info)))
    while True:
        try:
            return list(_read_batches(map_fd, info, size))
        except OSError as error:
            if error.errno in _NO_BATCH:
                return _read_one_by_one(map_fd, info)
            # A bucket held more keys than the batch: what came before it is not the whole map.
            if error.errno != errno.ENOSPC or size >= info.max_entries:
                raise
        size *= 8


def _read_one_by_one(map_fd: int, info: bpf.MapInfo) -> Sequence[tuple[bytes, bytes]]:
    if info.type in ARRAY_TYPES:
        return list(_read_indices(map_fd, info))
    return list(_walk(map_fd, info).items())


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


def _read_batches(map_fd: int, info: bpf.MapInfo, size: int) -> Iterator[tuple[bytes, bytes]]:
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
        key_bytes, value_bytes = keys.raw, values.raw
        for at in range(count):
            yield (
                key_bytes[at * info.key_size : (at + 1) * info.key_size],
                value_bytes[at * width : (at + 1) * width],
            )
        if code == errno.ENOENT:
            return
        started = True
        cursor_in, cursor_out = cursor_out, cursor_in
