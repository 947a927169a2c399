# SPDX-License-Identifier: Apache-2.0
"""
What a journal must satisfy beyond its checksum, so that no code after it has to validate the record (pure).

The checksum detects what a disk does to a file. This detects the rest: files written by a faulty version,
edited by hand or forged. All of it is damage and raises ValueError.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, overload

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import EncodedAttributes, StreamTable, Table, key_size
from sidecar.model import Attributes, Baseline, Cells, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.schema import CPU_BYTES
from sidecar.state.record import Batch, Record

_LENGTH = struct.Struct("=I")
# Exclusive limits. A window ends at least 1 ns after the last one, and OTLP's 64 bits must hold that too.
_U64 = 1 << 64
_TIMES = 1 << 63
_U32 = 1 << 32
_CELLS = 1 << 16


class Blobs(Sequence[bytes]):
    """The blobs of a payload by number; any other number, also a negative one, is damage."""

    def __init__(self, blobs: Sequence[bytes]) -> None:
        self._blobs = blobs

    def __len__(self) -> int:
        return len(self._blobs)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: "slice") -> Sequence[bytes]: ...
    def __getitem__(self, number: "int | slice") -> "bytes | Sequence[bytes]":
        return self._blobs[_number(number, len(self._blobs), "blob number")]


@contextmanager
def malformed() -> Iterator[None]:
    """Run the block, which decodes a header; any error that a malformed one causes becomes ValueError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"malformed journal ({type(error).__name__}: {error})") from None


def rows(count: object, *columns: bytes) -> None:
    """Raise ValueError unless each of the *columns* divides into *count* entries of one size."""
    entries = _number(count, _U64, "number of entries")
    for column in columns:
        fits = len(column) % entries == 0 if entries else not column
        _require(fits, f"{len(column)} bytes for {entries} entries")


def distinct(entries: Mapping[Any, Any], count: int) -> Mapping[Any, Any]:
    """Return the mapping; raise ValueError unless it has *count* entries, so that no key came twice."""
    _require(len(entries) == count, "duplicate keys")
    return entries


def check(record: Record) -> Record:
    """Return the record; raise ValueError unless a sidecar may have written it."""
    _number(record.sequence, _U64, "sequence")
    _is(record.accepted, bool)
    checked: set[tuple[int, int]] = set()
    _baselines(record.acknowledged, checked)
    if record.pending is not None:
        _is(record.pending, Batch)
        _baselines(record.pending.baselines, checked)
    for snapshots in record.snapshots.values():
        for snapshot in snapshots:
            _snapshot(snapshot)
    return record


def _baselines(baselines: Mapping[str, Baseline], checked: set[tuple[int, int]]) -> None:
    for baseline in baselines.values():
        _times(baseline.start_time_ns, baseline.end_ns)
        _require(bool(baseline.maps), "a baseline without a map")
        for identity, reading in baseline.maps.items():
            _identity(identity)
            _reading(reading, identity)
        for field in baseline.fields:
            _is(field, str)
        if isinstance(baseline.streams, StreamTable):
            _stream_table(baseline.streams, len(baseline.fields), checked)
        else:
            _streams(baseline.streams, len(baseline.fields))


def _snapshot(snapshot: Snapshot) -> None:
    _identity(snapshot.identity)
    _times(snapshot.counting_since_ns, snapshot.taken_ns)
    _reading(snapshot.reading, snapshot.identity)


def _identity(identity: MapIdentity) -> None:
    _is(identity.boot_id, str)
    for number in identity[1:]:
        _number(number, _U32, "number in a map's identity")


def _reading(reading: Reading, identity: MapIdentity) -> None:
    for column in reading.columns:
        _column(column)
    _cells(reading.cells, sum(column.cells for column in reading.columns))
    size = key_size(reading.cells)
    # With an attribute for the CPU, its number is part of the key.
    sizes = (0, identity.key_size, identity.key_size + CPU_BYTES)
    _require(size in sizes, "the keys do not have the map's key size")


def _column(column: Column) -> None:
    _is(column.field, str)
    _is(column.signed, bool)
    _is(column.monotonic, bool)
    _require(_number(column.bits, 65, "bits") > 0, "a column without bits")
    _require(_number(column.cells, _CELLS, "cells") > 0, "a column without cells")


def _cells(cells: Cells, width: int) -> None:
    if isinstance(cells, Table):
        fits = len(cells.cell_bytes) == 8 * width * len(cells)
    else:
        fits = all(len(row) == width for row in cells.values())
    _require(fits, "the cells do not match the columns")


def _streams(streams: Mapping[Attributes, StreamState], width: int) -> None:
    for attributes, stream in streams.items():
        _attributes(attributes)
        _require(len(stream.totals) == width, "the totals do not match the fields")
        _times(stream.end_ns)


def _stream_table(streams: StreamTable, width: int, checked: set[tuple[int, int]]) -> None:
    count = len(streams)
    _require(streams.width == width, "the totals do not match the fields")
    _require(len(streams.totals) == 8 * width * count, "the totals do not match the series")
    _require(len(streams.ends) == 8 * count, "the end times do not match the series")
    _times(max(memoryview(streams.ends).cast("Q"), default=0))
    # A pending batch mostly has the series of the one before it, and then these are the same blobs.
    blobs = (id(streams.series.encoded), id(streams.series.starts))
    if blobs not in checked:
        checked.add(blobs)
        _encoded_attributes(streams.series)


def _encoded_attributes(series: EncodedAttributes) -> None:
    starts = memoryview(series.starts).cast("Q")
    in_bounds = starts[0] == 0 and starts[-1] == len(series.encoded)
    in_order = all(first <= last for first, last in pairwise(starts))
    _require(in_bounds and in_order, "the series do not add up")
    # Imported here since only large maps need the classes, which take memory.
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint  # noqa: PLC0415

    from sidecar.attributes import from_key_values  # noqa: PLC0415

    def is_canonical(encoded: bytes) -> bool:
        return encode_attributes(from_key_values(NumberDataPoint.FromString(encoded).attributes)) == encoded

    try:
        valid = all(map(is_canonical, series))
    except DecodeError as error:
        raise ValueError(f"malformed journal: cannot decode the attributes of a series ({error})") from None
    _require(valid, "cannot decode the attributes of a series")


def _attributes(attributes: Attributes) -> None:
    for key, value in attributes:
        _is(key, str)
        if type(value) is int:
            _require(-_TIMES <= value < _U64, "an attribute of more than 64 bits")
        elif type(value) is not bool:
            _is(value, str)
    encode_attributes(attributes)  # raises UnicodeEncodeError, a ValueError, for invalid text


def _times(*times: object) -> None:
    for time in times:
        _number(time, _TIMES, "time")


def _number(value: object, limit: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(f"malformed journal: invalid {what}: {value!r:.40}")
    return value


def _is(value: object, kind: type) -> None:
    # Only a wrong value is put into words: the representation of a batch is many times its size.
    if type(value) is not kind:
        raise ValueError(f"malformed journal: {value!r:.40} instead of a {kind.__name__}")


def _require(holds: bool, cause: str) -> None:
    if not holds:
        raise ValueError(f"malformed journal: {cause}")
