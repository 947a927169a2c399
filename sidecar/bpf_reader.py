# SPDX-License-Identifier: Apache-2.0
"""Read an open map: from a file descriptor to the cells of its entries."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TypeAlias

from sidecar.counts.columns import Chunk
from sidecar.counts.reading import build_reading
from sidecar.kernel import syscall as bpf
from sidecar.kernel.cpus import possible_cpus, stride
from sidecar.model import Reading
from sidecar.schema import Schema

_FIRST_BATCH = 4096
# Limits the first batch where there are hundreds of CPUs and large values.
_BUFFER_BYTES = 4 * 1024 * 1024
_SMALLEST_BATCH = 64
# Kernels before 5.6 (per-CPU arrays: 5.13) have no batch operations and return EINVAL, or ENOTSUPP, which
# Python's errno does not name.
_NO_BATCH = (errno.EINVAL, 524)
# A key without a value, such as an array of maps may have, ends a batch (Linux < 6.14); a bucket is larger.
_CUT_SHORT = (errno.EINTR, errno.ENOSPC)
# A walk over a hash is given up after this many steps for each entry that the map can hold.
_LONGEST_WALK = 4
_ENDLESS = "the map changes faster than it can be read"

_Buffer: TypeAlias = "ctypes.Array[ctypes.c_char]"


def lookup_bytes(info: bpf.MapInfo) -> int:
    """Return the number of bytes that a lookup of one key returns: its values on all CPUs."""
    if info.kind.is_per_cpu:
        return stride(info.value_size) * len(possible_cpus())
    return info.value_size


def read(map_fd: int, info: bpf.MapInfo, schema: Schema) -> Reading:
    """
    Read the fields of every entry of a map.

    Where the schema tells CPUs apart, each CPU's slot of a value becomes an entry of its own.

    Raises:
        OSError: The kernel refused. A partial reading is never returned, so a failed read cannot be mistaken
            for a map of zeros.

    """
    if schema.cpu is not None and not info.kind.is_per_cpu:
        raise OSError(errno.EINVAL, "not a per-CPU map")
    if info.kind.is_array and info.max_entries == 1:
        return _reading(_read_only_entry(map_fd, info), info, schema)
    if info.kind.is_trie:
        return _reading(_read_trie(map_fd, info), info, schema)
    size = _batch_size(info)
    while True:
        try:
            return _reading(_read_batches(map_fd, info, size), info, schema)
        except OSError as error:
            if error.errno in _NO_BATCH:
                return _reading(_read_one_by_one(map_fd, info), info, schema)
            # A bucket holds more keys than the batch, so the entries read so far are not the whole map.
            if error.errno != errno.ENOSPC or size >= info.max_entries:
                raise
        size *= 8


def entries(map_fd: int, info: bpf.MapInfo) -> dict[bytes, bytes]:
    """
    Return the entries of a map that is not per CPU; a walk that starts over, as in `_walk`, lists keys again.

    Raises:
        OSError: The kernel refused.

    """
    found: dict[bytes, bytes] = {}
    listed = 0
    try:
        for keys, values in _read_batches(map_fd, info, _batch_size(info)):
            count = len(keys) // info.key_size
            listed += count
            if listed > _LONGEST_WALK * info.max_entries:
                raise OSError(errno.EAGAIN, _ENDLESS)
            for at in range(count):
                key = keys[at * info.key_size : (at + 1) * info.key_size]
                found[key] = values[at * info.value_size : (at + 1) * info.value_size]
    except OSError as error:
        if error.errno not in (*_NO_BATCH, *_CUT_SHORT):
            raise
        return _walk(map_fd, info)
    return found


def _batch_size(info: bpf.MapInfo) -> int:
    return max(_SMALLEST_BATCH, min(_FIRST_BATCH, _BUFFER_BYTES // lookup_bytes(info)))


def _reading(chunks: Iterator[Chunk], info: bpf.MapInfo, schema: Schema) -> Reading:
    cpus = possible_cpus() if info.kind.is_per_cpu else (0,)
    return build_reading(chunks, info.key_size, cpus, schema)


def _read_one_by_one(map_fd: int, info: bpf.MapInfo) -> Iterator[Chunk]:
    entries = dict(_read_indices(map_fd, info)) if info.kind.is_array else _walk(map_fd, info)
    yield b"".join(entries), b"".join(entries.values())


def _read_only_entry(map_fd: int, info: bpf.MapInfo) -> Iterator[Chunk]:
    """Read an array of one entry, which the shipped program's maps are: there may be hundreds."""
    key, value = _only_entry(info.key_size, lookup_bytes(info))
    bpf.map_lookup_into(map_fd, key, value)
    return iter(((key.raw, value.raw),))


# One for all maps of a shape, since one thread reads them all.
@lru_cache(maxsize=64)
def _only_entry(key_bytes: int, value_bytes: int) -> tuple[_Buffer, _Buffer]:
    """Return a buffer with the key of zeros, and one for its value."""
    return ctypes.create_string_buffer(key_bytes), ctypes.create_string_buffer(value_bytes)


def _read_trie(map_fd: int, info: bpf.MapInfo) -> Iterator[Chunk]:
    """
    Read a trie.

    A lookup finds the longest prefix that matches: of a key that was deleted since it was listed, the value
    of another one (kernel/bpf/lpm_trie.c, `trie_lookup_elem`). So only keys that are listed again afterwards
    are kept.
    """
    found = entries(map_fd, info)
    there = entries(map_fd, info).keys() if found else ()
    kept = {key: value for key, value in found.items() if key in there}
    yield b"".join(kept), b"".join(kept.values())


def _walk(map_fd: int, info: bpf.MapInfo) -> dict[bytes, bytes]:
    """
    Read a hash or a trie key by key.

    The kernel starts over if the key to continue from has been deleted (kernel/bpf/hashtab.c,
    `htab_map_get_next_key`; lpm_trie.c, `trie_get_next_key`), so walking a map that
    changes faster than it is read might never end.

    Raises:
        OSError: EAGAIN if it does not end.

    """
    entries: dict[bytes, bytes] = {}
    key = bpf.map_next_key(map_fd, None, info.key_size)
    for _ in range(_LONGEST_WALK * info.max_entries):
        if key is None:
            return entries
        with suppress(FileNotFoundError):  # deleted since, and its counts with it
            entries[key] = bpf.map_lookup(map_fd, key, lookup_bytes(info))
        key = bpf.map_next_key(map_fd, key, info.key_size)
    raise OSError(errno.EAGAIN, _ENDLESS)


def _read_indices(map_fd: int, info: bpf.MapInfo) -> Iterator[tuple[bytes, bytes]]:
    key = ctypes.create_string_buffer(info.key_size)
    value = ctypes.create_string_buffer(lookup_bytes(info))
    index = ctypes.c_uint32.from_buffer(key)
    for number in range(info.max_entries):
        index.value = number
        bpf.map_lookup_into(map_fd, key, value)
        yield key.raw, value.raw


def _read_batches(map_fd: int, info: bpf.MapInfo, size: int) -> Iterator[Chunk]:
    size = min(size, info.max_entries)
    width = lookup_bytes(info)
    keys = ctypes.create_string_buffer(size * info.key_size)
    values = ctypes.create_string_buffer(size * width)
    # The cursor is a bucket number for a hash, and a key for other types: room for either.
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
