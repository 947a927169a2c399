# SPDX-License-Identifier: Apache-2.0
"""
Carry a baseline over to a reading that has other fields (pure).

That happens when the configuration of a map changes, or a program is rebuilt with another value type.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter

from sidecar.counts.columns import Table, key_size, packed
from sidecar.model import Attributes, Baseline, Cells, Column, Field, Reading, StreamState
from sidecar.schema import Schema

_FIELD = attrgetter("field")


def names(reading: Reading) -> tuple[str, ...]:
    """Return the names of the fields, in their order."""
    return tuple(map(_FIELD, reading.columns))


def read(schema: Schema, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the fields of a reading in the order that the views of a schema expect."""
    return tuple(field.name for field in schema.layout.fields) if schema.views else names


def reorder(old: tuple[str, ...], new: tuple[str, ...]) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """Return a function that brings numbers of the *old* fields into the order of *new*; a new field is 0."""
    if old == new:
        return lambda numbers: numbers
    indices = [old.index(field) if field in old else None for field in new]
    return lambda numbers: tuple(0 if index is None else numbers[index] for index in indices)


def with_lost_fields(newest: Reading, before: Iterable[Reading]) -> Reading:
    """Return *newest* with the fields of earlier maps that its map lacks, in which it counts nothing."""
    known = set(names(newest))
    lost = {column.field: column for reading in before for column in reading.columns}
    columns = tuple(column for name, column in lost.items() if name not in known)
    if not columns:
        return newest
    width = sum(column.cells for column in columns)
    cells: Cells
    if isinstance(newest.cells, Table):
        zeros = packed([0] * width * len(newest.cells))
        cells = replace(newest.cells, cell_bytes=newest.cells.cell_bytes + zeros)
    else:
        cells = {key: (*numbers, *(0,) * width) for key, numbers in newest.cells.items()}
    return replace(newest, columns=(*newest.columns, *columns), cells=cells)


def streams_of(baseline: Baseline, fields: tuple[str, ...]) -> Mapping[Attributes, StreamState]:
    """Return the streams with their totals in the order of *fields*; a new field has counted nothing."""
    if baseline.fields == fields:
        return baseline.streams
    reordered = reorder(baseline.fields, fields)
    return {
        series: state._replace(totals=reordered(state.totals)) for series, state in baseline.streams.items()
    }


def new_names(old: Sequence[Field], new: Sequence[Field]) -> Mapping[str, str]:
    """Return the fields that are read under another name now, from old to new: the same bits of the value."""
    kept = {field.name for field in old} & {field.name for field in new}
    by_bits = {replace(field, name=""): field.name for field in new if field.name not in kept}
    return {
        field.name: by_bits[bits]
        for field in old
        if field.name not in kept and (bits := replace(field, name="")) in by_bits
    }


def renamed(baseline: Baseline, names: Mapping[str, str]) -> Baseline:
    """Return the baseline with other names for its fields, from old to new: they go on counting."""
    if not names:
        return baseline

    def renamed_number(number: str) -> str:
        # `value@0` and `value@slot[3]` are numbers of the field `value`.
        name, at, view = number.partition("@")
        return names.get(name, name) + at + view

    maps = {
        identity: replace(
            reading,
            columns=tuple(
                column._replace(field=names.get(column.field, column.field)) for column in reading.columns
            ),
        )
        for identity, reading in baseline.maps.items()
    }
    return replace(baseline, maps=maps, fields=tuple(map(renamed_number, baseline.fields)))


def known_cells(before: Reading | None, now: Reading) -> tuple[Cells, tuple[Column, ...]]:
    """
    Return the baseline's cells of a map in the columns of the present reading, and these columns.

    A field that was not read before counts from its present value, so nothing is counted twice. Its earlier
    value is unknown, so in this window it is no counter: it cannot tell whether the entry was emptied.
    """
    if before is None:
        return {}, now.columns
    if before.cells and now.cells and key_size(before.cells) != key_size(now.cells):
        # CPUs are told apart now and were not before, or the reverse: earlier values are unknown.
        return now.cells, now.columns
    if before.columns == now.columns:
        return before.cells, now.columns
    read_before = set(map(_storage, before.columns))
    columns = tuple(
        column if _storage(column) in read_before else column._replace(monotonic=False)
        for column in now.columns
    )
    known = {
        key: _rearrange(was, before.columns, now.cells[key], columns)
        for key, was in before.cells.items()
        if key in now.cells
    }
    return known, columns


def _rearrange(
    was: tuple[int, ...], old: Sequence[Column], now: tuple[int, ...], new: Sequence[Column]
) -> tuple[int, ...]:
    known = {_storage(column): cells for column, cells in _by_column(was, old)}
    return tuple(
        chain.from_iterable(known.get(_storage(column), cells) for column, cells in _by_column(now, new))
    )


def _storage(column: Column) -> Column:
    """Return the column regardless of the metrics that it yields."""
    return column._replace(monotonic=False)


def _by_column(cells: tuple[int, ...], columns: Sequence[Column]) -> Iterator[tuple[Column, tuple[int, ...]]]:
    start = 0
    for column in columns:
        yield column, cells[start : start + column.cells]
        start += column.cells
