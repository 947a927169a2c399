# SPDX-License-Identifier: Apache-2.0
"""
The small sources of a record: what stays as it is in each of them, and all their numbers (pure).

From one record to the next little else than the numbers of a small source changes. There may be hundreds of
them, so they are two blobs together: their forms, as JSON, and what these leave out, as u64.

    forms     = [form, ...]                              what a form leaves out:
    baseline  = source · start · maps · fields · series  end; cells of each map; totals and end of each series
    snapshots = source · maps, each with its start       of each map when it was taken, and its cells
    map       = identity · columns · keys
"""

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple, TypeVar

from sidecar.counts.columns import packed
from sidecar.model import Baseline, Cells, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal_check

Snapshots = Sequence[Snapshot]
_Source = TypeVar("_Source", Baseline, Snapshots)
_Form = tuple[Any, ...]


class Packed(NamedTuple):
    """
    Small sources of one kind in one record, as they are kept for the next.

    Attributes:
        sources: The sources, by name.
        each: The form of each, and its JSON.
        forms: The blob of forms.
        numbers: The blob of numbers.

    """

    sources: Mapping[str, object] = {}
    each: Mapping[str, tuple[_Form, str]] = {}
    forms: bytes = b"[]"
    numbers: bytes = b""


class Small(NamedTuple):
    """The small sources of one record, by what they are in it."""

    acknowledged: Packed = Packed()
    pending: Packed = Packed()
    snapshots: Packed = Packed()


def pack_baselines(baselines: Mapping[str, Baseline], before: Sequence[Packed]) -> Packed:
    """Return baselines packed; *before* are those of the last record, the newest first."""
    return _pack(baselines, before, _form_of_baseline, _numbers_of_baseline)


def pack_snapshots(snapshots: Mapping[str, Snapshots], before: Sequence[Packed]) -> Packed:
    """Return snapshots packed; *before* are those of the last record."""
    return _pack(snapshots, before, _form_of_snapshots, _numbers_of_snapshots)


def _pack(
    sources: Mapping[str, _Source],
    before: Sequence[Packed],
    form_of: Callable[[str, _Source], _Form],
    numbers_of: Callable[[_Source], list[int]],
) -> Packed:
    for known in before:
        if _are_same(sources, known.sources):
            return known
    each_before = before[0].each
    each: dict[str, tuple[_Form, str]] = {}
    numbers: list[int] = []
    for name, source in sources.items():
        form = form_of(name, source)
        entry = each_before.get(name)
        each[name] = entry if entry and entry[0] == form else (form, json.dumps(form, default=bytes.hex))
        numbers += numbers_of(source)
    if _are_same(each, each_before):
        forms = before[0].forms
    else:
        forms = f"[{','.join([text for _, text in each.values()])}]".encode()
    return Packed(sources, each, forms, packed(numbers))


def _are_same(sources: Mapping[str, object], known: Mapping[str, object]) -> bool:
    return sources.keys() == known.keys() and all(map(is_, sources.values(), known.values()))


def _form_of_baseline(name: str, baseline: Baseline) -> _Form:
    maps = [(identity, reading.columns, tuple(reading.cells)) for identity, reading in baseline.maps.items()]
    return name, baseline.start_time_ns, tuple(maps), baseline.fields, tuple(baseline.streams)


def _numbers_of_baseline(baseline: Baseline) -> list[int]:
    numbers = [baseline.end_ns]
    for reading in baseline.maps.values():
        for cells in reading.cells.values():
            numbers += cells
    for state in baseline.streams.values():
        numbers += state.totals
        numbers.append(state.end_ns)
    return numbers


def _form_of_snapshots(name: str, snapshots: Snapshots) -> _Form:
    maps = [
        (each.identity, each.reading.columns, tuple(each.reading.cells), each.counting_since_ns)
        for each in snapshots
    ]
    return name, tuple(maps)


def _numbers_of_snapshots(snapshots: Snapshots) -> list[int]:
    numbers = []
    for each in snapshots:
        numbers.append(each.taken_ns)
        for cells in each.reading.cells.values():
            numbers += cells
    return numbers


def unpack_baselines(forms: bytes, numbers: bytes) -> dict[str, Baseline]:
    """Return the baselines; raise ValueError or what `journal_check.malformed` takes if they are damaged."""
    with _Numbers(numbers) as left:
        return _by_name(forms, lambda *form: _baseline(left, *form))


def unpack_snapshots(forms: bytes, numbers: bytes) -> dict[str, tuple[Snapshot, ...]]:
    """Return the snapshots; raise the same."""
    with _Numbers(numbers) as left:
        return _by_name(forms, lambda maps: tuple(_snapshot(left, *each) for each in maps))


_Unpacked = TypeVar("_Unpacked")


def _by_name(forms: bytes, unpacked: Callable[..., _Unpacked]) -> dict[str, _Unpacked]:
    found = json.loads(forms)
    sources = {name: unpacked(*form) for name, *form in found}
    journal_check.distinct(sources, len(found))
    return sources


def _baseline(left: "_Numbers", start_ns: int, maps: Any, fields: Any, series: Any) -> Baseline:
    (end_ns,) = left.take(1)
    readings = {MapIdentity(*identity): _reading(left, *reading) for identity, *reading in maps}
    streams = {}
    for attributes in series:
        *totals, stream_end_ns = left.take(len(fields) + 1)
        streams[tuple((key, value) for key, value in attributes)] = StreamState(tuple(totals), stream_end_ns)
    journal_check.distinct(readings, len(maps))
    journal_check.distinct(streams, len(series))
    return Baseline(start_ns, end_ns, readings, tuple(fields), streams)


def _snapshot(left: "_Numbers", identity: Any, columns: Any, keys: Any, since_ns: int) -> Snapshot:
    (taken_ns,) = left.take(1)
    return Snapshot(MapIdentity(*identity), since_ns, taken_ns, _reading(left, columns, keys))


def _reading(left: "_Numbers", columns: Any, keys: Any) -> Reading:
    of = tuple(Column(*column) for column in columns)
    width = sum(column.cells for column in of)
    cells: Cells = {bytes.fromhex(key): left.take(width) for key in keys}
    return Reading(of, journal_check.distinct(cells, len(keys)))


class _Numbers:
    """The numbers of a blob, taken one after the other until none are left."""

    def __init__(self, numbers: bytes) -> None:
        self._numbers = array("Q", numbers)
        self._at = 0

    def take(self, count: int) -> tuple[int, ...]:
        end = self._at + count
        if not self._at <= end <= len(self._numbers):
            raise ValueError("malformed journal: fewer numbers than its forms say")
        taken = tuple(self._numbers[self._at : end])
        self._at = end
        return taken

    def __enter__(self) -> "_Numbers":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._at != len(self._numbers):
            raise ValueError("malformed journal: more numbers than its forms say")
