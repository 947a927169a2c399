# SPDX-License-Identifier: Apache-2.0
"""
Records one after the other in the journal file (pure); the last one holds.

    file   = head · record · record ..., each from the beginning of a block; zeros between and after them
    head   = magic · acknowledgement mark · size at creation
    record = length of the payload · its complement · checksum · payload

The checksum of a record is continued from that of the record before it, so a record is only valid after that
one. A mark is valid if it repeats the checksum of the last record. Nothing that is durable is written over,
except the mark, which has a block of its own: a record that a crash interrupts leaves all before it intact.
Integers are in the machine's own byte order: a journal is never moved to another machine.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAGIC = b"XDPOTEL6"
BLOCK = 4096
"""Two records share no block, which is as large as the largest sector of a disk."""

_SECTOR = 512
_WRITE_BYTES = 256 * 1024
_MARK = struct.Struct("=4sI")
_MARKED = b"ACKD"
MARK_AT = len(MAGIC)
_HEAD = struct.Struct(f"={len(MAGIC)}s{_MARK.size}sQ")
_LENGTH = struct.Struct("=I")
_RECORD = struct.Struct("=III")
_U32 = (1 << 32) - 1
FRAME_BYTES = _RECORD.size


@dataclass(frozen=True)
class Found:
    """
    The last record of a file.

    Attributes:
        payloads: Its payload, after those of the records before it.
        checksum: Its checksum.
        start: Where it begins.
        end: Where it ends.
        acknowledged: Whether the mark is its.

    """

    payloads: Sequence[memoryview]
    checksum: int
    start: int
    end: int
    acknowledged: bool


def head(size: int) -> bytes:
    """Return the first block of a file that is created with *size* bytes."""
    return _HEAD.pack(MAGIC, bytes(_MARK.size), size).ljust(BLOCK, b"\0")


def framed(payload: Sequence[bytes], after: int = 0) -> tuple[Sequence[bytes], int]:
    """Return a record in parts, and its checksum; *after* is that of the record before it."""
    parts = coalesced(payload)
    length, checksum = sum(map(len, parts)), _checksum(parts, after)
    return (_RECORD.pack(length, length ^ _U32, checksum), *parts), checksum


def coalesced(parts: Sequence[bytes]) -> Sequence[bytes]:
    """Return the same bytes in parts: small ones joined, to save writes; large ones as they are, uncopied."""
    if sum(map(len, parts)) <= _WRITE_BYTES:
        return (b"".join(parts),)
    joined: list[bytes] = []
    buffered: list[bytes] = []
    size = 0
    for part in parts:
        if buffered and size + len(part) > _WRITE_BYTES:
            joined.append(b"".join(buffered))
            buffered, size = [], 0
        buffered.append(part)
        size += len(part)
    return (*joined, b"".join(buffered))


def aligned(size: int) -> int:
    """Return the beginning of the first block that is not before *size*."""
    return -(-size // BLOCK) * BLOCK


def mark(checksum: int) -> bytes:
    """Return the mark that acknowledges the record with this checksum, to be written at `MARK_AT`."""
    return _MARK.pack(_MARKED, checksum)


def last(data: bytes) -> Found:
    """
    Return the last record of a file.

    A record whose writing was interrupted was never sent, and is ignored.

    Raises:
        ValueError: Some record is damaged.

    """
    if len(data) < BLOCK:
        raise ValueError("journal cut off")
    _, marked, size = _HEAD.unpack_from(data)
    if len(data) < size:
        raise ValueError(f"journal cut off: {len(data):,} of {size:,} bytes")
    records = list(_records(data))
    if not records:
        raise ValueError("checksum mismatch in the journal's first record")
    end, checksum = records[-1].end, records[-1].checksum
    if not _was_interrupted(data, aligned(end)):
        raise ValueError("checksum mismatch in a record of the journal")
    if marked.startswith(_MARKED) and marked not in (mark(record.checksum) for record in records):
        raise ValueError("journal without the record that was acknowledged")
    payloads = [record.payload for record in records]
    return Found(payloads, checksum, records[-1].start, end, marked == mark(checksum))


class _Record(NamedTuple):
    payload: memoryview
    checksum: int
    start: int
    end: int


def _records(data: bytes) -> Iterator[_Record]:
    """Yield the records up to the first that is not valid."""
    view, start, before = memoryview(data), BLOCK, 0
    while start + _RECORD.size <= len(data):
        length, _, checksum = _RECORD.unpack_from(data, start)
        payload = view[start + _RECORD.size : start + _RECORD.size + length]
        if not length or len(payload) < length or checksum != _checksum([payload], before):
            return
        end = start + _RECORD.size + length
        yield _Record(payload, checksum, start, end)
        start, before = aligned(end), checksum


def _checksum(payload: Sequence[bytes | memoryview], after: int) -> int:
    checksum = zlib.crc32(_LENGTH.pack(sum(map(len, payload))), after)
    for part in payload:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _was_interrupted(data: bytes, start: int) -> bool:
    """
    Return whether what follows the last valid record is nothing, or a record that was being written.

    Such a record lacks a sector, maybe the first, or its end. One that is there as a whole, or is followed by
    another, is damaged.
    """
    rest = data[start:]
    if not rest.strip(b"\0"):
        return True
    length, complement, _ = _RECORD.unpack_from(rest) if len(rest) >= _RECORD.size else (0, 0, 0)
    end = _RECORD.size + length
    if length and (complement != length ^ _U32 or rest[end:].strip(b"\0")):
        return False
    sectors = (rest[at : at + _SECTOR] for at in range(0, min(end, len(rest)), _SECTOR))
    return not length or end > len(rest) or any(not sector.strip(b"\0") for sector in sectors)
