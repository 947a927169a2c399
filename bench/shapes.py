# SPDX-License-Identifier: Apache-2.0
"""Maps of 100,000 keys of other types and numbers of counters, compared with the floor in C."""

from collections.abc import Iterator

from bench.keys import made
from bench.many_keys import KEYS, measured, whole_rows
from bench.table import Row
from sidecar.kernel import uapi

_SHAPES = {
    "u64 in a HASH": (uapi.MAP_HASH, 1),
    "2 u64 in a HASH": (uapi.MAP_HASH, 2),
    "u64 in a PERCPU_ARRAY": (uapi.MAP_PERCPU_ARRAY, 1),
    "2 u64 in an LRU_PERCPU_HASH": (uapi.MAP_LRU_PERCPU_HASH, 2),
    "16 u64 in a PERCPU_HASH": (uapi.MAP_PERCPU_HASH, 16),
}


def rows() -> Iterator[Row]:
    """Yield CPU time from the map to the bytes, by the share of changed keys."""
    for shape, (map_type, words) in _SHAPES.items():
        with made(KEYS, words, map_type) as held:
            yield from whole_rows(f"100,000 keys of {shape}", measured(held))
