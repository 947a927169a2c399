# SPDX-License-Identifier: Apache-2.0
"""Maps of 100,000 keys of other types, numbers of counters and kinds, compared with the floor in C."""

from collections.abc import Iterator

from bench.keys import histogram_schema, made, of_kinds
from bench.many_keys import KEYS, measured, whole_rows
from bench.table import Row
from sidecar.kernel import uapi
from sidecar.kinds import Kind

_SHAPES = {
    "u64 in a HASH": (uapi.MAP_HASH, 1),
    "2 u64 in a HASH": (uapi.MAP_HASH, 2),
    "u64 in a PERCPU_ARRAY": (uapi.MAP_PERCPU_ARRAY, 1),
    "2 u64 in an LRU_PERCPU_HASH": (uapi.MAP_LRU_PERCPU_HASH, 2),
    "16 u64 in a PERCPU_HASH": (uapi.MAP_PERCPU_HASH, 16),
}
_KINDS = (
    ("u64 up-down counter", 1, (Kind.UPDOWNCOUNTER,)),
    ("u64 gauge", 1, (Kind.GAUGE,)),
    ("8 u64, counters, up-down counters and gauges", 8, (Kind.COUNTER, Kind.UPDOWNCOUNTER, Kind.GAUGE)),
)
# As many as bcc's.
_BUCKETS = 27
# A round takes 1 to 2 s.
_ROUNDS = 3


def rows() -> Iterator[Row]:
    """Yield CPU time from the map to the bytes, by the share of changed keys."""
    for shape, (map_type, words) in _SHAPES.items():
        with made(KEYS, words, map_type) as held:
            yield from whole_rows(f"100,000 keys of {shape}", measured(held, rounds=_ROUNDS))
    for what, words, kinds in _KINDS:
        with made(KEYS, words) as held:
            yield from whole_rows(f"100,000 keys of {what}", measured(held, of_kinds(words, *kinds), _ROUNDS))
    for kind, what in ((Kind.HISTOGRAM, "histograms"), (Kind.EXPONENTIAL, "exponential histograms")):
        with made(KEYS, _BUCKETS + 1) as held:
            name = f"100,000 {what} of {_BUCKETS} buckets and their sum"
            # Their points have 28 numbers, so most of the time goes into bytes that the loop in C does not
            # write.
            yield from whole_rows(
                name, measured(held, histogram_schema(_BUCKETS + 1, kind), _ROUNDS), goal=None
            )
