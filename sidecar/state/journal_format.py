# SPDX-License-Identifier: Apache-2.0
"""
A record as the payload of the journal (pure).

    payload = length of the header · header (JSON) · blobs (requests, keys, numbers, texts; `journal_blobs`)

Small sources are blobs together (`journal_small`); a large one has several of its own. Names in the header
are part of the format and stay, also where the code has another word by now. The file around it is in
`journal_log`; a file of an earlier release is

    magic · acknowledgement mark · checksum of the payload · payload
"""

import json
import struct
import zlib
from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from sidecar.counts.columns import COLUMNAR_FROM, EncodedAttributes, StreamTable, Table, in_columns, packed
from sidecar.model import Attributes, Baseline, Cells, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal_check, journal_log
from sidecar.state.journal_blobs import FileBlobs, RecordBlobs, Written
from sidecar.state.journal_log import Found
from sidecar.state.journal_small import (
    Small,
    Snapshots,
    pack_baselines,
    pack_snapshots,
    unpack_baselines,
    unpack_snapshots,
)
from sidecar.state.record import Batch, Record

# The same file, whose records have small sources one by one.
_MAGIC_5 = b"XDPOTEL5"
# One record, written to a new file each time. Before the later one each stream had one more number, and
# `Record.accepted` was missing.
_OLD_MAGIC = b"XDPOTEL4"
_OLDEST_MAGIC = b"XDPOTEL3"
_OLD = struct.Struct("=8s8sI")
_LENGTH = struct.Struct("=I")
_NOTHING = Written()


@dataclass(frozen=True)
class Loaded:
    """The last record of a file, and where it is."""

    record: Record
    found: Found


def encode(record: Record, written: Written = _NOTHING) -> tuple[Sequence[bytes], Written]:
    """
    Return the payload, in parts, since they may be large, and what a file then has.

    *written* is what the file has before; without it, the payload is complete by itself.
    """
    blobs, pending = RecordBlobs(written), record.pending
    acknowledged, others = _parted(record.acknowledged)
    pending_small, pending_others = _parted(pending.baselines if pending else {})
    snapshots, other_snapshots = _parted(record.snapshots)
    # What is acknowledged now was mostly pending then.
    baselines = written.small.pending, written.small.acknowledged
    small = Small(
        pack_baselines(acknowledged, baselines),
        pack_baselines(pending_small, baselines),
        pack_snapshots(snapshots, [written.small.snapshots]),
    )
    header = json.dumps(
        {
            "sequence": record.sequence,
            "acknowledged": _pack_baselines(others, blobs),
            "pending": pending
            and {
                "requests": [blobs.add_unique(request) for request in pending.requests],
                "baselines": _pack_baselines(pending_others, blobs),
            },
            "seen": {
                source: [_pack_snapshot(snapshot, blobs, source) for snapshot in held]
                for source, held in other_snapshots.items()
            },
            "accepted": record.accepted,
            "small": [[blobs.add_same(each.forms), blobs.add_same(each.numbers)] for each in small],
            "blobs": blobs.entries,
        }
    ).encode()
    return (_LENGTH.pack(len(header)), header, *blobs.parts), blobs.written(small)


def decode(data: bytes) -> Loaded:
    """
    Return the last record of a file.

    Raises:
        ValueError: The bytes are damaged or of an unsupported version, or `journal_check` refuses the record.

    """
    if data.startswith((journal_log.MAGIC, _MAGIC_5)):
        found = journal_log.last(data)
    elif data.startswith((_OLD_MAGIC, _OLDEST_MAGIC)) and len(data) >= _OLD.size + _LENGTH.size:
        found = _only(data)
    else:
        raise ValueError("not a journal of a supported version")
    with journal_check.malformed():
        record = _decode_payloads(found.payloads, oldest=data.startswith(_OLDEST_MAGIC))
        return Loaded(journal_check.check(record), found)


def _only(data: bytes) -> Found:
    """Return the only record of an earlier release's file."""
    payload = memoryview(data)[_OLD.size :]
    _, marked, checksum = _OLD.unpack_from(data)
    if zlib.crc32(payload) != checksum:
        raise ValueError("checksum mismatch")
    return Found((payload,), checksum, 0, len(data), marked == journal_log.mark(checksum))


def _decode_payloads(payloads: Sequence[memoryview], *, oldest: bool) -> Record:
    """Return the record of the last payload; the others have some of its blobs."""
    file = FileBlobs()
    for payload in payloads:
        (length,) = _LENGTH.unpack_from(payload)
        start = _LENGTH.size + length
        header = json.loads(bytes(payload[_LENGTH.size : start]))
        numbers = file.take(header["blobs"], payload[start:])
    blobs = journal_check.Blobs([file[number] for number in numbers])
    acknowledged, baselines, snapshots = _unpack_small(header, blobs)
    acknowledged |= _unpack_baselines(header["acknowledged"], blobs, oldest=oldest)
    baselines |= _unpack_baselines((header["pending"] or {}).get("baselines", {}), blobs, oldest=oldest)
    snapshots |= {
        source: tuple(_unpack_snapshot(packed, blobs) for packed in held)
        for source, held in header["seen"].items()
    }
    pending = header["pending"] and Batch(
        tuple(blobs[number] for number in header["pending"]["requests"]), baselines
    )
    accepted = bool(acknowledged) if oldest else header["accepted"]
    return Record(header["sequence"], acknowledged, pending, snapshots, accepted)


_Source = TypeVar("_Source", Baseline, Snapshots)


def _parted(sources: Mapping[str, _Source]) -> tuple[Mapping[str, _Source], Mapping[str, _Source]]:
    """Return the small sources, and the others."""
    others = {name: source for name, source in sources.items() if not _is_small(source)}
    if not others:
        return sources, others
    return {name: source for name, source in sources.items() if name not in others}, others


def _is_small(source: Baseline | Snapshots) -> bool:
    """Return whether all maps and series of a source are few, and none are in columns."""
    if isinstance(source, Baseline):
        readings = list(source.maps.values())
        if type(source.streams) is not dict or len(source.streams) > COLUMNAR_FROM:
            return False
    else:
        readings = [snapshot.reading for snapshot in source]
    for reading in readings:
        if type(reading.cells) is not dict or len(reading.cells) > COLUMNAR_FROM:
            return False
    return True


def _unpack_small(
    header: dict[str, Any], blobs: Sequence[bytes]
) -> tuple[dict[str, Baseline], dict[str, Baseline], dict[str, tuple[Snapshot, ...]]]:
    """Return the small sources of a record: acknowledged, pending, snapshots; there were none earlier."""
    if "small" not in header:
        return {}, {}, {}
    acknowledged, pending, snapshots = [[blobs[number] for number in pair] for pair in header["small"]]
    return (
        unpack_baselines(*acknowledged),
        unpack_baselines(*pending),
        unpack_snapshots(*snapshots),
    )


def _pack_baselines(baselines: Mapping[str, Baseline], blobs: RecordBlobs) -> dict[str, Any]:
    return {
        source: {
            "birth_ns": baseline.start_time_ns,
            "end_ns": baseline.end_ns,
            "maps": [
                {
                    "identity": blobs.add(_json(identity)),
                    **_pack_reading(reading, blobs, (source, identity)),
                }
                for identity, reading in baseline.maps.items()
            ],
            "fields": baseline.fields,
            "accounts": _pack_streams(baseline.streams, blobs, source),
        }
        for source, baseline in baselines.items()
    }


def _unpack_baselines(packed: dict[str, Any], blobs: Sequence[bytes], *, oldest: bool) -> dict[str, Baseline]:
    return {
        source: Baseline(
            baseline["birth_ns"],
            baseline["end_ns"],
            {_unpack_identity(held, blobs): _unpack_reading(held, blobs) for held in baseline["maps"]},
            tuple(baseline["fields"]),
            _unpack_streams(baseline["accounts"], blobs, oldest=oldest),
        )
        for source, baseline in packed.items()
    }


def _unpack_identity(packed: dict[str, Any], blobs: Sequence[bytes]) -> MapIdentity:
    return MapIdentity(*json.loads(blobs[packed["identity"]]))


@lru_cache(maxsize=1024)
def _json(constant: MapIdentity | tuple[Column, ...]) -> bytes:
    """Return a value that only changes with the map: such values are most of a small journal."""
    return json.dumps(constant).encode()


def _pack_snapshot(snapshot: Snapshot, blobs: RecordBlobs, source: str) -> dict[str, Any]:
    return {
        "identity": blobs.add(_json(snapshot.identity)),
        "born_ns": snapshot.counting_since_ns,
        "taken_ns": snapshot.taken_ns,
        **_pack_reading(snapshot.reading, blobs, (source, snapshot.identity)),
    }


def _unpack_snapshot(packed: dict[str, Any], blobs: Sequence[bytes]) -> Snapshot:
    return Snapshot(
        _unpack_identity(packed, blobs),
        packed["born_ns"],
        packed["taken_ns"],
        _unpack_reading(packed, blobs),
    )


def _pack_reading(reading: Reading, blobs: RecordBlobs, of: Hashable) -> dict[str, Any]:
    cells = reading.cells
    packed = {"columns": blobs.add(_json(reading.columns)), "count": len(cells)}
    if isinstance(cells, Table):
        keys = blobs.add_table(cells.key_bytes, (of, "keys"))
        return {**packed, "keys": keys, "cells": blobs.add_table(cells.cell_bytes, (of, "cells"))}
    return {**packed, "keys": blobs.add(b"".join(cells)), "cells": blobs.add(in_columns(cells.values()))}


def _unpack_reading(packed: dict[str, Any], blobs: Sequence[bytes]) -> Reading:
    columns = tuple(Column(*column) for column in json.loads(blobs[packed["columns"]]))
    return Reading(columns, _unpack_cells(packed["count"], blobs[packed["keys"]], blobs[packed["cells"]]))


def _unpack_cells(count: int, keys: bytes, numbers: bytes) -> Cells:
    journal_check.rows(count, keys, numbers)
    table = Table(keys, len(keys) // max(1, count), numbers)
    if count > COLUMNAR_FROM:
        return table
    return journal_check.distinct(table.as_dict, count) if count else {}


def _pack_streams(
    streams: Mapping[Attributes, StreamState], blobs: RecordBlobs, of: Hashable
) -> dict[str, Any]:
    if isinstance(streams, StreamTable):
        return {
            "width": streams.width,
            "said": blobs.add_table(streams.series.encoded, (of, "said")),
            "starts": blobs.add_table(streams.series.starts, (of, "starts")),
            "totals": blobs.add_table(streams.totals, (of, "totals")),
            "ends": blobs.add_table(streams.ends, (of, "ends")),
        }
    numbers = chain.from_iterable((*stream.totals, stream.end_ns) for stream in streams.values())
    return {
        "series": blobs.add(json.dumps(list(streams)).encode()),
        "numbers": blobs.add(packed(numbers)),
    }


def _unpack_streams(
    held: dict[str, Any], blobs: Sequence[bytes], *, oldest: bool
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
        *totals, end_ns = numbers[row * width : (row + 1) * width - oldest]
        streams[tuple((key, value) for key, value in attributes)] = StreamState(tuple(totals), end_ns)
    return journal_check.distinct(streams, len(series))
