# SPDX-License-Identifier: Apache-2.0
"""Maps of many keys for benchmarks, and one turn of the sidecar over them through its public functions."""

import ctypes
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from demo.bpf_commands import map_create, map_update_from
from sidecar import bpf_reader
from sidecar.config import DEFAULT_INTERVAL_S
from sidecar.counts import delta
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.cpus import possible_cpus
from sidecar.kernel.map_kinds import kind_of
from sidecar.model import Attribute, Field, Layout, MapIdentity, Snapshot, Temporality
from sidecar.otlp.encode import encode
from sidecar.schema import Instrument, Schema

RESOURCE: tuple[Attribute, ...] = (("service.name", "bench"), ("service.instance.id", "bench"))


def schema(words: int) -> Schema:
    """Return what is made of a map with keys of 32 bits and values of *words* counters of 64 bits."""
    names = [f"field{at}" for at in range(words)]
    return Schema(
        name="bench",
        layout=Layout(8 * words, tuple(Field(name, 64 * at) for at, name in enumerate(names))),
        instruments=tuple(Instrument(f"bench.{name}", "{packet}", "Bench.", name) for name in names),
        label=lambda key: (("key", int.from_bytes(key, "little")),),
        series_limit=1 << 24,
    )


@dataclass
class Map:
    """A hash, per-CPU or not, of *entries* keys from 0 on; it knows how to count."""

    fd: int
    entries: int
    words: int
    slots: int
    _turn: int = field(default=0)

    @property
    def info(self) -> bpf.MapInfo:
        """What the kernel says of it."""
        return bpf.map_info(self.fd)

    def count(self, keys: int) -> None:
        """Let that many keys grow, on each CPU."""
        self._turn += 1
        slot = struct.pack(f"={self.words}Q", *(self._turn * (at + 1) for at in range(self.words)))
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(slot * self.slots)
        number = ctypes.c_uint32.from_buffer(key)
        for at in range(keys):
            number.value = at
            map_update_from(self.fd, key, value)


@contextmanager
def made(
    entries: int, words: int, map_type: int = uapi.MAP_PERCPU_HASH, slots: int | None = None
) -> Iterator[Map]:
    """Make a map with all its keys; with *slots* each value is as long as that many, one for each CPU."""
    per_cpu = kind_of(map_type).is_per_cpu
    slots = slots or (len(possible_cpus()) if per_cpu else 1)
    # An LRU hash that is nearly full drops keys.
    room = 2 * entries if map_type == uapi.MAP_LRU_PERCPU_HASH else entries
    fd = map_create(
        map_type,
        key_size=4,
        value_size=8 * words * (1 if per_cpu else slots),
        # A hash that is not full has shorter chains.
        max_entries=max(room, 16),
        name="bench_keys",
    )
    try:
        one = Map(fd, entries, words, slots)
        one.count(entries)
        yield one
    finally:
        os.close(fd)


class Turns:
    """
    The sidecar's way from a map to bytes, by the functions that the pipeline calls and as it calls them.

    Process, journal and network are left out. Between two turns the sidecar's own interval passes, by the
    time stamps, so that as many idle series are due for export as in real cycles.
    """

    def __init__(
        self, fd: int, info: bpf.MapInfo, meaning: Schema, temporality: Temporality = Temporality.DELTA
    ) -> None:
        """Make the first turn, which exports everything."""
        self._fd, self._info, self._schema, self._temporality = fd, info, meaning, temporality
        self._now_ns = time.time_ns()
        first = self.read()
        with_base = temporality is Temporality.DELTA_WITH_BASE
        self._baseline = (
            delta.baseline_as_reported(first, meaning) if with_base else delta.baseline_from_zero(first)
        )
        self._turn(everything=True)

    def turn(self) -> int:
        """Read, add up, take the difference, and encode; return the number of bytes for the wire."""
        return sum(map(len, self._turn(everything=False)))

    def read(self) -> Snapshot:
        """Read and add up alone."""
        self._now_ns += int(DEFAULT_INTERVAL_S * 1e9)
        return snapshot(self._fd, self._info, self._schema, self._now_ns)

    def _turn(self, *, everything: bool) -> Sequence[bytes]:
        step = delta.advance(self._baseline, [self.read()], self._schema, include_idle=everything)
        self._baseline = step.baseline
        return encode(RESOURCE, self._temporality, [(self._schema, step.to_export)])


def snapshot(fd: int, info: bpf.MapInfo, meaning: Schema, taken_ns: int) -> Snapshot:
    """Return what a map holds, as `Source.read` does."""
    identity = MapIdentity("boot", info.id, info.type, info.key_size, info.value_size, info.max_entries)
    return Snapshot(identity, 1, taken_ns, bpf_reader.read(fd, info, meaning))
