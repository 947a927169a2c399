# SPDX-License-Identifier: Apache-2.0
"""
The labels of many series at once, by numpy: the twin of `labels.labels` (pure).

The series of a source have the same attributes with different values, so all are taken apart as the first one
is. Series that turn out to be different, and values that are rare or long, are left to the twin.
"""

from collections.abc import Sequence

import numpy as np

from sidecar.attributes import decode_attributes, framed
from sidecar.counts.columns.arrays import Bytes, Mask, Rows, U64Array
from sidecar.counts.columns.names import bounds, pieces
from sidecar.counts.columns.table import EncodedAttributes
from sidecar.describe import prometheus_names
from sidecar.model import Attributes
from sidecar.observe.labels import ESCAPES, labels

# Never a byte of UTF-8: it fills up a text that is shorter than its column, and is deleted at the end.
_FILL = 0xFF
_BOOLS = np.frombuffer(b"falsetrue\xff", np.uint8).reshape(2, 5)

# The tags of an attribute, and of its value: a string, a bool or an integer (`common.proto`, KeyValue).
_ATTRIBUTE, _STRING, _BOOL, _INTEGER = 0x3A, 0x0A, 0x10, 0x18
# The largest length that takes one byte.
_LONGEST = 127


def render(names: EncodedAttributes, rows: Rows) -> list[bytes]:
    """Return the labels of some series, at least one."""
    try:
        texts, others = _alike(names, rows, decode_attributes(names[int(rows[0])]))
    except _UnlikeError:
        texts, others = [b""] * len(rows), range(len(rows))
    for at in others:
        texts[at] = labels(decode_attributes(names[int(rows[at])]))
    return texts


class _UnlikeError(Exception):
    """The first series is not like most."""


def _alike(names: EncodedAttributes, rows: Rows, first: Attributes) -> tuple[list[bytes], Sequence[int]]:
    """Return the labels of the series that have the attributes of the *first* one, and which have not."""
    shown = [prometheus_names.label(key) for key, _ in first]
    if len({*shown}) < len(shown):
        raise _UnlikeError
    walk = _Walk(names, rows)
    columns: list[Bytes] = []
    for label, (key, value) in zip(shown, first, strict=True):
        columns += [_constant(f'{"," if columns else ""}{label}="'), walk.next(key, value), _constant('"')]
    lines = _side_by_side([*columns, _constant("\n")], len(rows)).translate(None, bytes([_FILL]))
    return lines.split(b"\n")[:-1], walk.others()


def _constant(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)[np.newaxis]


def _side_by_side(columns: Sequence[Bytes], count: int) -> bytes:
    """Return *count* lines of columns; a column of one row is the same in all lines."""
    lines = np.empty((count, sum(column.shape[1] for column in columns)), np.uint8)
    at = 0
    for column in columns:
        lines[:, at : at + column.shape[1]] = column
        at += column.shape[1]
    return lines.tobytes()


class _Walk:
    """
    Goes through the encoded attributes of many series, one attribute of each in each step.

    A series with another attribute than the first one goes on as the first one, so that none is left out of
    the arrays.
    """

    def __init__(self, names: EncodedAttributes, rows: Rows) -> None:
        self._encoded = np.frombuffer(names.encoded, np.uint8)
        self._at, self._ends = bounds(names)[rows], bounds(names)[rows + 1]
        self._alike = np.ones(len(rows), np.bool_)

    def next(self, key: str, like: str | int | bool) -> Bytes:
        """Return the text of the next attribute's value, if it has this key and the type of *like*."""
        head = (framed(b"\x0a", key.encode()) if key else b"") + b"\x12"
        tag = _BOOL if isinstance(like, bool) else _INTEGER if isinstance(like, int) else _STRING
        # Tag and length, the key, then length and tag of the value, and its first byte.
        value = 2 + len(head) + 2
        self._require(self._at + value < len(self._encoded))
        size = self._bytes(1)
        self._require((self._bytes(0) == _ATTRIBUTE) & (size <= _LONGEST) & (self._bytes(value - 1) == tag))
        same = self._texts(2, len(head)) == np.frombuffer(head, np.uint8)
        if not same.all():
            self._require(same.all(axis=1))
        text = self._value(value, tag)
        self._at = self._at + 2 + self._bytes(1)
        return text

    def others(self) -> list[int]:
        """Return which series are not like the first one, after its last attribute."""
        self._require(self._at == self._ends)
        return np.flatnonzero(~self._alike).tolist()

    def _value(self, at: int, tag: int) -> Bytes:
        if tag == _BOOL:
            return np.take(_BOOLS, self._bytes(at) & 1, axis=0)
        if tag == _INTEGER:
            numbers = self._integers(at)
            self._alike &= numbers < 1 << 63
            return _decimals(np.where(self._alike, numbers, 0))
        lengths = self._bytes(at)
        longest = int(lengths.max())
        self._require(self._at + at + 1 + longest <= len(self._encoded))
        texts = self._texts(at + 1, longest)
        texts[np.arange(longest) >= lengths[:, np.newaxis]] = _FILL
        for escaped in ESCAPES:
            if (found := texts == escaped).any():
                self._alike &= ~found.any(axis=1)
                texts[found] = _FILL  # a newline would end the line
        return texts

    def _require(self, alike: Mask) -> None:
        """Go on as the first series where a series is not *alike*."""
        if alike.all():
            return
        if not alike[0]:
            raise _UnlikeError
        self._alike &= alike
        self._at = np.where(alike, self._at, self._at[0])

    def _bytes(self, at: int) -> Bytes:
        """Return the byte of each series that is *at* bytes from here."""
        return self._encoded[self._at + at]

    def _texts(self, at: int, size: int) -> Bytes:
        """Return the *size* bytes of each series from *at* bytes from here, a row for each."""
        if not size:
            return np.empty((len(self._at), 0), np.uint8)
        return pieces(self._encoded, size)[self._at + at].view(np.uint8).reshape(-1, size)

    def _integers(self, at: int) -> U64Array:
        """Return the varint of each series that begins *at* bytes from here."""
        numbers, going, shift = np.zeros(len(self._at), np.uint64), np.ones(len(self._at), np.bool_), 0
        while going.any():
            self._require(self._at + at < len(self._encoded))
            byte = self._bytes(at)
            numbers += np.where(going, byte & 127, 0).astype(np.uint64) << np.uint64(shift)
            going &= byte > 127
            at, shift = at + 1, shift + 7
        return numbers


def _decimals(numbers: U64Array) -> Bytes:
    """Return the digits of each number, a row for each."""
    width = len(str(int(numbers.max())))
    digits = np.empty((len(numbers), width), np.uint8)
    rest = numbers
    for column in reversed(range(width)):
        tens = rest // np.uint64(10)
        digits[:, column] = rest - tens * np.uint64(10) + np.uint64(ord("0"))
        digits[(rest == 0) & (column < width - 1), column] = _FILL
        rest = tens
    return digits
