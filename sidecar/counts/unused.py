# SPDX-License-Identifier: Apache-2.0
"""
Rows of an array that were never used (pure).

An array has all its rows from the start, most of them zeros. The reader leaves those out
(`Schema.only_used`), so a row is an entry from its first count on. It remains one: a row that the baseline
knows and the reading lacks holds zeros now, unlike a key that was deleted from a hash.
"""

from collections.abc import Sequence
from dataclasses import replace

from sidecar.counts.columns import columnar_with_rows, key_size
from sidecar.model import Baseline, Reading, Snapshot


def completed(baseline: Baseline, snapshots: Sequence[Snapshot]) -> tuple[Baseline, Sequence[Snapshot]]:
    """
    Return both with the rows that the other side knows.

    The baseline needs them only where other fields are read now: then the earlier values of a row are zero in
    the fields that were read, and unknown in the others (`fields.known_cells`).
    """
    maps = dict(baseline.maps)
    complete = []
    for snapshot in snapshots:
        before, now = maps.get(snapshot.identity), snapshot.reading
        if before is not None and before.cells:
            now = _with_rows(now, before)
            if before.columns != now.columns:
                maps[snapshot.identity] = _with_rows(before, now)
        complete.append(replace(snapshot, reading=now))
    return replace(baseline, maps=maps), complete


def _with_rows(reading: Reading, other: Reading) -> Reading:
    """Return a reading with a row of zeros for each key that only *other* has."""
    if key_size(reading.cells) not in (0, key_size(other.cells)):
        return reading  # CPUs are told apart in one of them only
    table = columnar_with_rows(reading, other)
    if table is not None:
        return replace(reading, cells=table)
    zeros = (0,) * sum(column.cells for column in reading.columns)
    missing = {key: zeros for key in other.cells if key not in reading.cells}
    return replace(reading, cells={**reading.cells, **missing}) if missing else reading
