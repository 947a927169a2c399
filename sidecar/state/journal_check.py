# SPDX-License-Identifier: Apache-2.0
"""
What a journal must be beyond its checksum, so that nothing after it has to doubt the record (pure).

A checksum finds what a disk does to a file. This finds the rest: the file of a version that had an error, one
that somebody edited, one that was made to look like ours. All of it is damage, told by ValueError.
"""

import json
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
_COUNTS = 1 << 64
# A window ends at least 1 ns after the last one, and OTLP has 64 bits for that.
_TIMES = 1 << 63
_IDS = 1 << 32
_MOST_CELLS = 1 << 16


class Blobs(Sequence[bytes]):
    """The blobs of a payload by number; a number that is none of theirs is damage, also one from the end."""

    def __init__(self, blobs: Sequence[bytes]) -> None:
        """Take the blobs in their order."""
        self._blobs = blobs

    def __len__(self) -> int:
        return len(self._blobs)

    @overload
    def __getitem__(self, number: int) -> bytes: ...
    @overload
    def __getitem__(self, number: "slice") -> Sequence[bytes]: ...
    def __getitem__(self, number: "int | slice") -> "bytes | Sequence[bytes]":
        return self._blobs[_number(number, len(self._blobs), "number of a blob")]


@contextmanager
def malformed() -> Iterator[None]:
    """Run the block, which takes a header apart; what it trips over is damage: ValueError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"malformed journal ({type(error).__name__}: {error})") from None


def split(payload: memoryview) -> tuple[dict[str, Any], Blobs]:
    """Return the header and the blobs, which must be all there is, or raise what `malformed` takes."""
    (length,) = _LENGTH.unpack_from(payload)
    at = _LENGTH.size + length
    header = json.loads(bytes(payload[_LENGTH.size : at]))
    sizes = [_number(size, _COUNTS, "size of a blob") for size in header["blobs"]]
    _require(at + sum(sizes) == len(payload), "sizes that do not add up")
    blobs = []
    for size in sizes:
        blobs.append(bytes(payload[at : at + size]))
        at += size
    return header, Blobs(blobs)


def rows(count: object, *columns: bytes) -> None:
    """Raise ValueError unless each of the *columns* is of *count* entries of one size."""
    of = _number(count, _COUNTS, "number of entries")
    for column in columns:
        _require(len(column) % of == 0 if of else not column, f"{len(column)} bytes for {of} entries")


def distinct(held: Mapping[Any, Any], count: int) -> Mapping[Any, Any]:
    """Return what *count* entries came to; raise ValueError if some of them were one."""
    _require(len(held) == count, "one key twice")
    return held


def check(record: Record) -> Record:
    """Return the record; raise ValueError unless it is one that a sidecar may have written."""
    _number(record.sequence, _COUNTS, "sequence")
    _is(record.accepted, bool)
    checked: set[tuple[int, int]] = set()
    _baselines(record.acknowledged, checked)
    if record.pending is not None:
        _is(record.pending, Batch)
        _baselines(record.pending.baselines, checked)
    for snapshots in record.seen.values():
        for snapshot in snapshots:
            _snapshot(snapshot)
    return record


def _baselines(baselines: Mapping[str, Baseline], checked: set[tuple[int, int]]) -> None:
    for baseline in baselines.values():
        _times(baseline.start_time_ns, baseline.end_ns)
        _require(bool(baseline.maps), "a source without a map")
        for identity, reading in baseline.maps.items():
            _identity(identity)
            _reading(reading, identity)
        for field in baseline.fields:
            _is(field, str)
        if isinstance(baseline.streams, StreamTable):
            _ledger(baseline.streams, len(baseline.fields), checked)
        else:
            _accounts(baseline.streams, len(baseline.fields))


def _snapshot(snapshot: Snapshot) -> None:
    _identity(snapshot.identity)
    _times(snapshot.counting_since_ns, snapshot.taken_ns)
    _reading(snapshot.reading, snapshot.identity)


def _identity(identity: MapIdentity) -> None:
    _is(identity.boot_id, str)
    for number in identity[1:]:
        _number(number, _IDS, "number of a map")


def _reading(reading: Reading, identity: MapIdentity) -> None:
    for column in reading.columns:
        _column(column)
    _cells(reading.cells, sum(column.cells for column in reading.columns))
    size = key_size(reading.cells)
    # Where CPUs are told apart, the CPU's number is part of the key.
    _require(
        size in (0, identity.key_size, identity.key_size + CPU_BYTES), "keys of another size than the map's"
    )


def _column(column: Column) -> None:
    _is(column.field, str)
    _is(column.signed, bool)
    _is(column.monotonic, bool)
    _require(_number(column.bits, 65, "bits") > 0, "a column without bits")
    _require(_number(column.cells, _MOST_CELLS, "cells") > 0, "a column without cells")


def _cells(cells: Cells, width: int) -> None:
    if isinstance(cells, Table):
        _require(
            len(cells.cell_bytes) == 8 * width * len(cells), "cells that are not as many as the columns say"
        )
        return
    _require(
        all(len(one) == width for one in cells.values()), "cells that are not as many as the columns say"
    )


def _accounts(streams: Mapping[Attributes, StreamState], width: int) -> None:
    for attributes, account in streams.items():
        _attributes(attributes)
        _require(len(account.totals) == width, "totals that are not as many as the fields")
        _times(account.end_ns)


def _ledger(streams: StreamTable, width: int, checked: set[tuple[int, int]]) -> None:
    count = len(streams)
    _require(streams.width == width, "totals that are not as many as the fields")
    _require(len(streams.totals) == 8 * width * count, "totals that are not as many as the series")
    _require(len(streams.ends) == 8 * count, "times that are not as many as the series")
    _times(max(memoryview(streams.ends).cast("Q"), default=0))
    # A batch under way mostly has the names of the one before it, which are the same blobs then.
    names = (id(streams.series.encoded), id(streams.series.starts))
    if names not in checked:
        checked.add(names)
        _names(streams.series)


def _names(names: EncodedAttributes) -> None:
    starts = memoryview(names.starts).cast("Q")
    _require(starts[0] == 0 and starts[-1] == len(names.encoded), "names that do not add up")
    _require(all(first <= last for first, last in pairwise(starts)), "names that do not add up")
    # As `points.attributes` says: only who has such names pays for the classes.
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint  # noqa: PLC0415

    from sidecar.attributes import from_key_values  # noqa: PLC0415

    parsed = NumberDataPoint.FromString
    try:
        fits = all(encode_attributes(from_key_values(parsed(name).attributes)) == name for name in names)
    except DecodeError as error:
        raise ValueError(f"malformed journal: a series whose name says nothing ({error})") from None
    _require(fits, "a series whose name says nothing")


def _attributes(attributes: Attributes) -> None:
    for key, value in attributes:
        _is(key, str)
        if type(value) is int:
            _require(-_TIMES <= value < _COUNTS, "an attribute of more than 64 bits")
        elif type(value) is not bool:
            _is(value, str)
    encode_attributes(attributes)  # UnicodeEncodeError, a ValueError, if that is no text


def _times(*times: object) -> None:
    for one in times:
        _number(one, _TIMES, "time")


def _number(value: object, limit: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(f"{what} {value!r:.40}")
    return value


def _is(value: object, kind: type) -> None:
    _require(type(value) is kind, f"{value!r:.40} in the place of a {kind.__name__}")


def _require(holds: bool, otherwise: str) -> None:  # the statement is all there is
    if not holds:
        raise ValueError(f"malformed journal: {otherwise}")
