# SPDX-License-Identifier: Apache-2.0
"""Maps with many keys, and one turn of the sidecar over them through its public functions."""

import os
import socket
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle

from demo.bpf_commands import map_create, map_update_batch
from sidecar import bpf_reader
from sidecar.config import DEFAULT_INTERVAL_S
from sidecar.counts import delta
from sidecar.describe.labels import build_label
from sidecar.describe.shape import Encoding, Part
from sidecar.describe.spec import KeySpec
from sidecar.histogram import Histogram
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kernel.cpus import possible_cpus
from sidecar.kernel.map_kinds import kind_of
from sidecar.kinds import Kind
from sidecar.model import Attribute, Field, Layout, MapIdentity, Snapshot, Temporality
from sidecar.otlp.encode import encode
from sidecar.schema import Instrument, Schema

_AT_ONCE = 4096
_KEY = Part("key", 0, 32, Encoding.UNSIGNED, "__u32")
RESOURCE: tuple[Attribute, ...] = (("service.name", "bench"), ("service.instance.id", "bench"))


def schema(words: int) -> Schema:
    """Return the schema of a map with 32-bit keys and values of *words* 64-bit counters."""
    names = [f"field{at}" for at in range(words)]
    return Schema(
        name="bench",
        layout=Layout(8 * words, tuple(Field(name, 64 * at) for at, name in enumerate(names))),
        instruments=tuple(Instrument(f"bench.{name}", "{packet}", "Bench.", name) for name in names),
        label=build_label((KeySpec("key", "key"),), (_KEY,), "the key of map bench", socket.if_indextoname),
        series_limit=1 << 24,
    )


def of_kinds(words: int, *kinds: Kind) -> Schema:
    """Return the same schema, but for its metrics, which are of these kinds in turn."""
    of = schema(words)
    instruments = (replace(each, kind=kind) for each, kind in zip(of.instruments, cycle(kinds), strict=False))
    return replace(of, instruments=tuple(instruments))


def histogram_schema(words: int, kind: Kind = Kind.HISTOGRAM) -> Schema:
    """Return the schema of such a map whose counters are the buckets of a histogram; the last is its sum."""
    of = schema(words)
    *counts, total = (field.name for field in of.layout.fields)
    made = Histogram(tuple(counts), tuple(float((2 << at) - 1) for at in range(words - 2)), (total,))
    instrument = Instrument(
        "bench.size",
        "By",
        "Bench.",
        "fields",
        kind,
        histogram=made,
        reads=(*counts, total),
    )
    return replace(of, instruments=(instrument,))


@dataclass
class Map:
    """A hash, per-CPU or not, with *entries* keys from 0, whose counters can be incremented."""

    fd: int
    entries: int
    words: int
    slots: int
    _turn: int = field(default=0)

    @property
    def info(self) -> bpf.MapInfo:
        """The kernel's description of the map."""
        return bpf.map_info(self.fd)

    def count(self, keys: int) -> None:
        """Increment the counters of the first *keys* keys on each CPU."""
        self._turn += 1
        slot = struct.pack(f"={self.words}Q", *(self._turn * (at + 1) for at in range(self.words)))
        for first in range(0, keys, _AT_ONCE):
            some = array("I", range(first, min(first + _AT_ONCE, keys)))
            map_update_batch(self.fd, some.tobytes(), slot * self.slots * len(some), len(some))


@contextmanager
def made(
    entries: int, words: int, map_type: int = uapi.MAP_PERCPU_HASH, slots: int | None = None
) -> Iterator[Map]:
    """Make a map with all its keys; with *slots*, each value has that many slots, one per CPU."""
    per_cpu = kind_of(map_type).is_per_cpu
    slots = slots or (len(possible_cpus()) if per_cpu else 1)
    # An LRU hash that is nearly full evicts keys.
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
        held = Map(fd, entries, words, slots)
        held.count(entries)
        yield held
    finally:
        os.close(fd)


class Turns:
    """
    The sidecar's path from a map to bytes, through the functions that the pipeline calls.

    Without process, journal and network. The timestamps of two turns are one default interval apart, so as
    many idle series are due for a refresh as in real cycles.
    """

    def __init__(
        self, fd: int, info: bpf.MapInfo, meaning: Schema, temporality: Temporality = Temporality.DELTA
    ) -> None:
        """Run the first turn, which exports everything."""
        self._fd, self._info, self._schema, self._temporality = fd, info, meaning, temporality
        self._now_ns = time.time_ns()
        first = self.read()
        with_base = temporality is Temporality.DELTA_WITH_BASE
        self._baseline = (
            delta.baseline_as_reported(first, meaning) if with_base else delta.baseline_from_zero(first)
        )
        self._turn(everything=True)

    def turn(self) -> int:
        """Read, sum, compute the deltas, encode; return the number of bytes for the wire."""
        return sum(map(len, self._turn(everything=False)))

    def read(self) -> Snapshot:
        """Only read and sum."""
        self._now_ns += int(DEFAULT_INTERVAL_S * 1e9)
        return snapshot(self._fd, self._info, self._schema, self._now_ns)

    def _turn(self, *, everything: bool) -> Sequence[bytes]:
        step = delta.advance(self._baseline, [self.read()], self._schema, include_idle=everything)
        self._baseline = step.baseline
        return encode(RESOURCE, self._temporality, [(self._schema, step.to_export)])


def snapshot(fd: int, info: bpf.MapInfo, meaning: Schema, taken_ns: int) -> Snapshot:
    """Read a map, as `Source.read` does."""
    identity = MapIdentity("boot", info.id, info.type, info.key_size, info.value_size, info.max_entries)
    return Snapshot(identity, 1, taken_ns, bpf_reader.read(fd, info, meaning))
