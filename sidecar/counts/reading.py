# SPDX-License-Identifier: Apache-2.0
"""From the kernel's bytes to a reading, by key or in columns; and the sums over a reading (pure)."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from sidecar.counts.cells import cells, values
from sidecar.counts.columns import COLUMNAR_FROM, Chunk, columnar_reading, columnar_sums
from sidecar.model import Attributes, Reading
from sidecar.schema import CPU_BYTES, Schema
from sidecar.u64 import added


def build_reading(chunks: Iterator[Chunk], key_size: int, cpus: Sequence[int], schema: Schema) -> Reading:
    """
    Return the reading of a map, in columns if it has many entries.

    Where the schema tells CPUs apart, each CPU's slot of a value becomes an entry of its own. Where it wants
    used rows only, entries whose fields are all zero are left out; `counts.unused` brings known ones back.

    Args:
        chunks: All entries, some at a time.
        key_size: Bytes of a key.
        cpus: The CPU of each slot of a value; any single one if the map is not per-CPU.
        schema: The fields to read.

    """
    slots, entries_per_key = (len(cpus), 1) if schema.cpu is None else (1, len(cpus))
    columns, read, entries = schema.columns(slots), [], 0
    for keys, raw_values in chunks:
        read.append((keys, raw_values))
        entries += len(keys) // key_size * entries_per_key
        if entries > COLUMNAR_FROM:
            return columnar_reading(chain(read, chunks), key_size, cpus, schema)
    if schema.cpu is not None:
        read = [(_split_by_cpu(keys, key_size, cpus), raw_values) for keys, raw_values in read]
        key_size += CPU_BYTES
    labels: dict[bytes, Attributes] = {}
    held: dict[bytes, tuple[int, ...]] = {}
    for keys, raw_values in read:
        count = len(keys) // key_size
        width = len(raw_values) // count if count else 0
        for row in range(count):
            raw = raw_values[row * width : (row + 1) * width]
            entry = cells(raw, schema.layout, slots)
            if schema.only_used and not any(entry):
                continue
            key = keys[row * key_size : (row + 1) * key_size]
            held[key] = entry
            if schema.value_label is not None:
                labels[key] = schema.value_label.attributes(schema.value_label.read(raw, slots))
    return Reading(columns, held, labels)


def sum_fields(reading: Reading) -> tuple[int, ...]:
    """Return the value of each field added up over all entries and CPUs, modulo 2^64."""
    sums = columnar_sums(reading)
    if sums is not None:
        return sums
    sums = (0,) * len(reading.columns)
    for entry in reading.cells.values():
        sums = added(sums, values(entry, reading.columns))
    return sums


def _split_by_cpu(keys: bytes, key_size: int, cpus: Sequence[int]) -> bytes:
    """Return each key once for each CPU, followed by the CPU's number."""
    suffixes = [cpu.to_bytes(CPU_BYTES, sys.byteorder) for cpu in cpus]
    each = (keys[start : start + key_size] for start in range(0, len(keys), key_size))
    return b"".join(key + suffix for key in each for suffix in suffixes)
