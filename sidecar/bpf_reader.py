# SPDX-License-Identifier: Apache-2.0
"""Read an open map: from a file descriptor to totals, summed over the possible CPUs."""

import ctypes
import errno
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sidecar import bpf_syscall as bpf
from sidecar import bpf_uapi as uapi
from sidecar.errors import KernelError
from sidecar.model import Layout, Totals
from sidecar.percpu import parse_cpu_list, stride, sum_slots

PER_CPU_TYPES = frozenset({uapi.MAP_PERCPU_ARRAY, uapi.MAP_PERCPU_HASH, uapi.MAP_LRU_PERCPU_HASH})
ARRAY_TYPES = frozenset({uapi.MAP_ARRAY, uapi.MAP_PERCPU_ARRAY})
READABLE_TYPES = PER_CPU_TYPES | ARRAY_TYPES | {uapi.MAP_HASH, uapi.MAP_LRU_HASH}

_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_FIRST_BATCH = 4096


@cache
def possible_cpus() -> int:
    """
    Return the number of possible CPUs, which never changes while the kernel runs.

    Raises:
        KernelError: The kernel's list cannot be read or understood.

    """
    try:
        return parse_cpu_list(_POSSIBLE.read_text())
    except (OSError, ValueError) as error:
        raise KernelError(f"count possible CPUs in {_POSSIBLE}", str(error), "mount sysfs at /sys") from error


def slots(info: bpf.MapInfo) -> int:
    """Return how many values the kernel answers for one key of a map."""
    return possible_cpus() if info.type in PER_CPU_TYPES else 1


def answer_bytes(info: bpf.MapInfo) -> int:
    """Return the size of the kernel's answer for one key of a map."""
    if info.type in PER_CPU_TYPES:
        return stride(info.value_size) * possible_cpus()
    return info.value_size


def read(map_fd: int, info: bpf.MapInfo, layout: Layout) -> Totals:
    """
    Read every entry of a map and sum its fields over the possible CPUs.

    Raises:
        OSError: The kernel refused; nothing that was read before is returned, so a failed read never
            looks like a map of zeros.

    """
    count = slots(info)
    return {key: sum_slots(raw, layout, count) for key, raw in read_raw(map_fd, info)}


def read_raw(map_fd: int, info: bpf.MapInfo) -> list[tuple[bytes, bytes]]:
    """Return each key with the kernel's whole answer for it; raise OSError as `read` does."""
    if info.type in ARRAY_TYPES:
        return list(_read_indices(map_fd, info))
    size = _FIRST_BATCH
    while True:
        try:
            return list(_read_batches(map_fd, info, size))
        except OSError as error:
            # A bucket held more keys than the batch: what came before it is not the whole map.
            if error.errno != errno.ENOSPC or size >= info.max_entries:
                raise
        size *= 8


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
            raise OSError(code, "batch lookup")
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
