# SPDX-License-Identifier: Apache-2.0
"""
The bytes of the journal file (pure).

    file    = magic · acknowledgement mark · checksum of the payload · payload
    payload = length of the header · header (JSON) · blobs (requests, keys, numbers, texts); equal blobs once

A mark is valid if it repeats the payload's checksum, so it can never acknowledge another record. Integers are
in the machine's own byte order: a journal is never moved to another machine. Names in the header are part of
the format and stay, also where the code has another word by now.
"""

import json
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sidecar.counts.columns import COLUMNAR_FROM, EncodedAttributes, StreamTable, Table, packed
from sidecar.model import Attributes, Baseline, Cells, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal_check
from sidecar.state.record import Batch, Record

_MAGIC = b"XDPOTEL4"
# Each stream had one more number, and `Record.accepted` was missing.
_OLD_MAGIC = b"XDPOTEL3"
_MARK = struct.Struct("=4sI")
_MARKED = b"ACKD"
_CHECKSUM = struct.Struct("=I")
_LENGTH = struct.Struct("=I")
MARK_AT = len(_MAGIC)
_PAYLOAD_AT = MARK_AT + _MARK.size + _CHECKSUM.size


def encode(record: Record) -> Sequence[bytes]:
    """Return the bytes of the file, without an acknowledgement mark; in parts, since they may be large."""
    payload = _encode_payload(record)
    checksum = 0
    for part in payload:
        checksum = zlib.crc32(part, checksum)
    return (_MAGIC + bytes(_MARK.size) + _CHECKSUM.pack(checksum), *payload)


def mark(data: bytes) -> bytes:
    """Return the mark that acknowledges the file that begins with *data*, to be written at `MARK_AT`."""
    (checksum,) = _CHECKSUM.unpack_from(data, MARK_AT + _MARK.size)
    return _MARK.pack(_MARKED, checksum)


def decode(data: bytes) -> tuple[Record, bool]:
    """
    Return the record and whether it is marked as acknowledged.

    Raises:
        ValueError: The bytes are damaged or of an unsupported version, or `journal_check` refuses the record.

    """
    if not data.startswith((_MAGIC, _OLD_MAGIC)) or len(data) < _PAYLOAD_AT + _LENGTH.size:
        raise ValueError("not a journal of a supported version")
    payload = memoryview(data)[_PAYLOAD_AT:]
    if zlib.crc32(payload) != _CHECKSUM.unpack_from(data, MARK_AT + _MARK.size)[0]:
        raise ValueError("checksum mismatch")
    with journal_check.malformed():
        record = journal_check.check(_decode_payload(payload, old=data.startswith(_OLD_MAGIC)))
    return record, data[MARK_AT : MARK_AT + _MARK.size] == mark(data)


class _Blobs:
    """Numbered byte strings; equal ones are stored once, since a baseline often repeats a snapshot."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def add(self, blob: bytes) -> int:
        """Return the blob's number."""
        return self._numbers.setdefault(blob, len(self._numbers))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._numbers)


def _encode_payload(record: Record) -> Sequence[bytes]:
    blobs = _Blobs()
    pending = record.pending and {
        "requests": [blobs.add(request) for request in record.pending.requests],
        "baselines": _pack_baselines(record.pending.baselines, blobs),
    }
    header = json.dumps(
        {
            "sequence": record.sequence,
            "acknowledged": _pack_baselines(record.acknowledged, blobs),
            "pending": pending,
            "seen": {
                source: [_pack_snapshot(snapshot, blobs) for snapshot in snapshots]
                for source, snapshots in record.snapshots.items()
            },
            "accepted": record.accepted,
            "blobs": list(map(len, blobs)),
        }
    ).encode()
    return (_LENGTH.pack(len(header)), header, *blobs)


def _decode_payload(payload: memoryview, *, old: bool) -> Record:
    header, blobs = journal_check.split(payload)
    pending = header["pending"] and Batch(
        tuple(blobs[number] for number in header["pending"]["requests"]),
        _unpack_baselines(header["pending"]["baselines"], blobs, old=old),
    )
    snapshots = {
        source: tuple(_unpack_snapshot(packed, blobs) for packed in held)
        for source, held in header["seen"].items()
    }
    acknowledged = _unpack_baselines(header["acknowledged"], blobs, old=old)
    accepted = bool(acknowledged) if old else header["accepted"]
    return Record(header["sequence"], acknowledged, pending, snapshots, accepted)


def _pack_baselines(baselines: Mapping[str, Baseline], blobs: _Blobs) -> dict[str, Any]:
    return {
        source: {
            "birth_ns": baseline.start_time_ns,
            "end_ns": baseline.end_ns,
            "maps": [
                {"identity": blobs.add(_json(identity)), **_pack_reading(reading, blobs)}
                for identity, reading in baseline.maps.items()
            ],
            "fields": baseline.fields,
            "accounts": _pack_streams(baseline.streams, blobs),
        }
        for source, baseline in baselines.items()
    }


def _unpack_baselines(packed: dict[str, Any], blobs: Sequence[bytes], *, old: bool) -> dict[str, Baseline]:
    return {
        source: Baseline(
            baseline["birth_ns"],
            baseline["end_ns"],
            {_unpack_identity(held, blobs): _unpack_reading(held, blobs) for held in baseline["maps"]},
            tuple(baseline["fields"]),
            _unpack_streams(baseline["accounts"], blobs, old=old),
        )
        for source, baseline in packed.items()
    }


def _unpack_identity(packed: dict[str, Any], blobs: Sequence[bytes]) -> MapIdentity:
    return MapIdentity(*json.loads(blobs[packed["identity"]]))


@lru_cache(maxsize=64)
def _json(constant: MapIdentity | tuple[Column, ...]) -> bytes:
    """Return a value that only changes with the map: such values are most of a small journal."""
    return json.dumps(constant).encode()


def _pack_snapshot(snapshot: Snapshot, blobs: _Blobs) -> dict[str, Any]:
    return {
        "identity": blobs.add(_json(snapshot.identity)),
        "born_ns": snapshot.counting_since_ns,
        "taken_ns": snapshot.taken_ns,
        **_pack_reading(snapshot.reading, blobs),
    }


def _unpack_snapshot(packed: dict[str, Any], blobs: Sequence[bytes]) -> Snapshot:
    return Snapshot(
        _unpack_identity(packed, blobs),
        packed["born_ns"],
        packed["taken_ns"],
        _unpack_reading(packed, blobs),
    )


def _pack_reading(reading: Reading, blobs: _Blobs) -> dict[str, Any]:
    table = Table.of(reading.cells, len(next(iter(reading.cells), b"0")))
    return {
        "columns": blobs.add(_json(reading.columns)),
        "count": len(reading.cells),
        "keys": blobs.add(table.key_bytes),
        "cells": blobs.add(table.cell_bytes),
    }


def _unpack_reading(packed: dict[str, Any], blobs: Sequence[bytes]) -> Reading:
    columns = tuple(Column(*column) for column in json.loads(blobs[packed["columns"]]))
    return Reading(columns, _unpack_cells(packed["count"], blobs[packed["keys"]], blobs[packed["cells"]]))


def _unpack_cells(count: int, keys: bytes, numbers: bytes) -> Cells:
    journal_check.rows(count, keys, numbers)
    table = Table(keys, len(keys) // max(1, count), numbers)
    if count > COLUMNAR_FROM:
        return table
    return journal_check.distinct(table.as_dict, count) if count else {}


def _pack_streams(streams: Mapping[Attributes, StreamState], blobs: _Blobs) -> dict[str, Any]:
    if isinstance(streams, StreamTable):
        return {
            "width": streams.width,
            "said": blobs.add(streams.series.encoded),
            "starts": blobs.add(streams.series.starts),
            "totals": blobs.add(streams.totals),
            "ends": blobs.add(streams.ends),
        }
    numbers = chain.from_iterable((*stream.totals, stream.end_ns) for stream in streams.values())
    return {
        "series": blobs.add(json.dumps(list(streams)).encode()),
        "numbers": blobs.add(packed(numbers)),
    }


def _unpack_streams(
    held: dict[str, Any], blobs: Sequence[bytes], *, old: bool
) -> Mapping[Attributes, StreamState]:
    if "said" in held:
        encoded = EncodedAttributes(blobs[held["said"]], blobs[held["starts"]])
        return StreamTable(encoded, held["width"], blobs[held["totals"]], blobs[held["ends"]])
    series = json.loads(blobs[held["series"]])
    journal_check.rows(len(series), blobs[held["numbers"]])
    numbers = array("Q", blobs[held["numbers"]])
    width = len(numbers) // len(series) if series else 0
    streams = {}
    for row, attributes in enumerate(series):
        *totals, end_ns = numbers[row * width : (row + 1) * width - old]
        streams[tuple((key, value) for key, value in attributes)] = StreamState(tuple(totals), end_ns)
    return journal_check.distinct(streams, len(series))
