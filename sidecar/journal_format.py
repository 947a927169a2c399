# SPDX-License-Identifier: Apache-2.0
"""
The bytes of the journal file (pure).

    file    = magic · acknowledgement mark · checksum of the payload · payload
    payload = length of the header · header (JSON) · blobs (requests, keys, counters)

The mark is good if it repeats the payload's checksum, so a mark can never acknowledge another record.
Integers are in the machine's own byte order: a journal does not travel.
"""

import json
import struct
import zlib
from array import array
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from sidecar.model import Baseline, Batch, MapIdentity, Record, Snapshot, Totals

_MAGIC = b"XDPOTEL1"
_MARK = struct.Struct("=4sI")
_MARKED = b"ACKD"
_CHECKSUM = struct.Struct("=I")
_LENGTH = struct.Struct("=I")
MARK_AT = len(_MAGIC)
_PAYLOAD_AT = MARK_AT + _MARK.size + _CHECKSUM.size


def encode(record: Record) -> bytes:
    """Return the file's bytes for a record that is not acknowledged."""
    payload = _encode(record)
    return _MAGIC + bytes(_MARK.size) + _CHECKSUM.pack(zlib.crc32(payload)) + payload


def mark(data: bytes) -> bytes:
    """Return the mark that acknowledges the record in *data*, to be written at `MARK_AT`."""
    (checksum,) = _CHECKSUM.unpack_from(data, MARK_AT + _MARK.size)
    return _MARK.pack(_MARKED, checksum)


def decode(data: bytes) -> tuple[Record, bool]:
    """
    Return the record and whether it is marked as acknowledged.

    Raises:
        ValueError: The bytes are damaged, or of another version.

    """
    if not data.startswith(_MAGIC) or len(data) < _PAYLOAD_AT + _LENGTH.size:
        raise ValueError("not a journal of this version")
    payload = memoryview(data)[_PAYLOAD_AT:]
    if zlib.crc32(payload) != _CHECKSUM.unpack_from(data, MARK_AT + _MARK.size)[0]:
        raise ValueError("checksum mismatch")
    return _decode(payload), data[MARK_AT : MARK_AT + _MARK.size] == mark(data)


def settled(record: Record, *, certain: bool = True) -> Record:
    """
    Return the record as it stands once its pending batch is behind us.

    That is when it was acknowledged or, not *certain*, when it was given up: then what the Collector is known
    to have does not move on, or the next base point would be new to it, and counted a second time.
    """
    if record.pending is None:
        return record
    baselines = dict(record.pending.baselines)
    if not certain:
        for source, baseline in baselines.items():
            before = record.acknowledged.get(source)
            known_ns = before.settled_ns if before else baseline.birth_ns
            baselines[source] = replace(baseline, settled_ns=known_ns)
    return replace(record, acknowledged={**record.acknowledged, **baselines}, pending=None)


def _encode(record: Record) -> bytes:
    blobs: list[bytes] = []
    pending = record.pending and {
        "requests": [_add(blobs, request) for request in record.pending.requests],
        "baselines": _pack_baselines(record.pending.baselines, blobs),
    }
    header = json.dumps(
        {
            "sequence": record.sequence,
            "acknowledged": _pack_baselines(record.acknowledged, blobs),
            "pending": pending,
            "seen": {
                source: [_pack_snapshot(snapshot, blobs) for snapshot in snapshots]
                for source, snapshots in record.seen.items()
            },
            "blobs": list(map(len, blobs)),
        }
    ).encode()
    return b"".join((_LENGTH.pack(len(header)), header, *blobs))


def _decode(payload: memoryview) -> Record:
    (length,) = _LENGTH.unpack_from(payload)
    at = _LENGTH.size + length
    header = json.loads(bytes(payload[_LENGTH.size : at]))
    blobs = []
    for size in header["blobs"]:
        blobs.append(bytes(payload[at : at + size]))
        at += size
    pending = header["pending"] and Batch(
        tuple(blobs[index] for index in header["pending"]["requests"]),
        _unpack_baselines(header["pending"]["baselines"], blobs),
    )
    seen = {
        source: tuple(_unpack_snapshot(packed, blobs) for packed in snapshots)
        for source, snapshots in header["seen"].items()
    }
    return Record(header["sequence"], _unpack_baselines(header["acknowledged"], blobs), pending, seen)


def _add(blobs: list[bytes], blob: bytes) -> int:
    blobs.append(blob)
    return len(blobs) - 1


def _pack_baselines(baselines: Any, blobs: list[bytes]) -> dict[str, Any]:
    return {
        source: {
            "identity": asdict(baseline.identity),
            "birth_ns": baseline.birth_ns,
            "end_ns": baseline.end_ns,
            "settled_ns": baseline.settled_ns,
            "totals": _pack_totals(baseline.totals, blobs),
            "finished": _pack_totals(baseline.finished, blobs),
        }
        for source, baseline in baselines.items()
    }


def _unpack_baselines(packed: dict[str, Any], blobs: list[bytes]) -> dict[str, Baseline]:
    return {
        source: Baseline(
            MapIdentity(**one["identity"]),
            one["birth_ns"],
            one["end_ns"],
            one["settled_ns"],
            _unpack_totals(one["totals"], blobs),
            _unpack_totals(one["finished"], blobs),
        )
        for source, one in packed.items()
    }


def _pack_snapshot(snapshot: Snapshot, blobs: list[bytes]) -> dict[str, Any]:
    return {
        "identity": asdict(snapshot.identity),
        "born_ns": snapshot.born_ns,
        "taken_ns": snapshot.taken_ns,
        "totals": _pack_totals(snapshot.totals, blobs),
    }


def _unpack_snapshot(packed: dict[str, Any], blobs: list[bytes]) -> Snapshot:
    return Snapshot(
        MapIdentity(**packed["identity"]),
        packed["born_ns"],
        packed["taken_ns"],
        _unpack_totals(packed["totals"], blobs),
    )


def _pack_totals(totals: Totals, blobs: list[bytes]) -> dict[str, int]:
    keys = b"".join(totals)
    counters = array("Q", chain.from_iterable(totals.values())).tobytes()
    return {"count": len(totals), "keys": _add(blobs, keys), "counters": _add(blobs, counters)}


def _unpack_totals(packed: dict[str, int], blobs: list[bytes]) -> Totals:
    count = packed["count"]
    if not count:
        return {}
    keys = blobs[packed["keys"]]
    counters = array("Q", blobs[packed["counters"]])
    size, fields = len(keys) // count, len(counters) // count
    return {
        keys[at * size : (at + 1) * size]: tuple(counters[at * fields : (at + 1) * fields])
        for at in range(count)
    }
