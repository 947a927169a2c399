# SPDX-License-Identifier: Apache-2.0
"""
The data of a large map as bytes, column after column, instead of an object for each number (pure).

The tables are mappings like those that they stand in for, so code that is not in a hurry need not know them;
the rest of this package and the journal use the bytes. Numbers are u64 in the machine's byte order. Nothing
here needs numpy.
"""

import os
from abc import ABCMeta
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any

from sidecar.attributes import decode_attributes, encode_attributes
from sidecar.model import Attributes, Cells, StreamState
from sidecar.schema import ValueLabel

# numpy loads a library that would start a thread for each CPU, for algebra that nothing here uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COLUMNAR_FROM = 512
"""
A map with more entries than this is read into columns.

At that size the entry-by-entry code takes 10 to 20 ms a cycle for each field, this 1 ms. But numpy takes
12 MB.
"""


def packed(numbers: Iterable[int]) -> bytes:
    """Return numbers as u64 in the machine's byte order."""
    return array("Q", numbers).tobytes()


def in_columns(rows: Iterable[tuple[int, ...]]) -> bytes:
    """Return rows of numbers as u64, column after column."""
    return packed(chain.from_iterable(zip(*rows, strict=True)))


def _to_rows(columns: bytes, count: int) -> Iterator[tuple[int, ...]]:
    numbers = memoryview(columns).cast("Q")
    return zip(*(numbers[start : start + count] for start in range(0, len(numbers), count or 1)), strict=True)


class Concrete(ABCMeta):
    """The type of classes that no other is registered with: to look for one in each `isinstance` is slow."""

    __instancecheck__ = type.__instancecheck__


class _EqualByContent(Mapping[Any, Any], metaclass=Concrete):
    """A mapping that is equal to any other with the same items."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Table(_EqualByContent):
    """
    The cells of a map (`model.Cells`).

    Attributes:
        key_bytes: Its keys, one after the other.
        key_size: Bytes of a key.
        cell_bytes: Its cells, column after column.

    """

    key_bytes: bytes
    key_size: int
    cell_bytes: bytes

    @classmethod
    def of(cls, cells: Cells, key_size: int) -> "Table":
        """Return the same cells in columns."""
        if isinstance(cells, Table):
            return cells
        return cls(b"".join(cells), key_size, in_columns(cells.values()))

    def __len__(self) -> int:
        return len(self.key_bytes) // self.key_size

    def __iter__(self) -> Iterator[bytes]:
        return map(self.key, range(len(self)))

    def key(self, row: int) -> bytes:
        """Return the key of a row."""
        return self.key_bytes[row * self.key_size : (row + 1) * self.key_size]

    def __getitem__(self, key: bytes) -> tuple[int, ...]:
        return self.as_dict[key]

    @cached_property
    def as_dict(self) -> dict[bytes, tuple[int, ...]]:
        """The same as a dict, which is large."""
        return dict(zip(self, _to_rows(self.cell_bytes, len(self)), strict=True))


def key_size(cells: Cells) -> int:
    """Return the bytes of a key; 0 if there is none."""
    return cells.key_size if isinstance(cells, Table) else len(next(iter(cells), b""))


@dataclass(frozen=True, eq=False)
class LabelTable(_EqualByContent):
    """
    The attributes that come from the values of a map (`Reading.labels`).

    Attributes:
        table: The map.
        read: What `ValueLabel.read` returned for each key, one after the other.
        of: How they become attributes.

    """

    table: Table
    read: bytes
    of: ValueLabel

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.table)

    def __getitem__(self, key: bytes) -> Attributes:
        return self.as_dict[key]

    @cached_property
    def as_dict(self) -> dict[bytes, Attributes]:
        """The same as a dict, which is large."""
        size = len(self.of.offsets)
        each = (self.of.attributes(self.read[row * size : (row + 1) * size]) for row in range(len(self)))
        return dict(zip(self, each, strict=True))


@dataclass(frozen=True, eq=False)
class EncodedAttributes:
    """
    The encoded attributes of many series, which identify them (`attributes.encode_attributes`).

    Attributes:
        encoded: Those of each series, one after the other.
        starts: The offset of each series, and the end of the last one, u64.
        kept: What was made of them and is needed again in the next window (`otlp.columns_template`).

    """

    encoded: bytes
    starts: bytes
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "EncodedAttributes":
        """Return the encoded attributes of several series together."""
        each = list(names)
        return cls(b"".join(each), packed(accumulate(map(len, each), initial=0)))

    def __len__(self) -> int:
        return len(self.starts) // 8 - 1

    def __iter__(self) -> Iterator[bytes]:
        return (self.encoded[start:end] for start, end in pairwise(memoryview(self.starts).cast("Q")))

    def __getitem__(self, row: int) -> bytes:
        start, end = memoryview(self.starts).cast("Q")[row : row + 2]
        return self.encoded[start:end]


@dataclass(frozen=True)
class KeyIndex:
    """
    The series of the keys of one reading, for each view that they belong to (`placing.Places`).

    Attributes:
        schema: The schema whose labels named the series.
        names: What names the places of the keys.
        row_bytes: For each place the row of its series in the streams, i64; -1 if the series was beyond the
            limit.
        unplaced: The series of each place with -1, in their order.
        bucket_bytes: For each place the number of its bucket, i64; empty unless a key tells buckets apart.
        all_key_bytes: All keys of the reading.
        all_view_bytes: The views of each of these (`placing.Keys`).

    """

    schema: object
    names: bytes
    row_bytes: bytes
    unplaced: EncodedAttributes
    bucket_bytes: bytes = b""
    all_key_bytes: bytes = b""
    all_view_bytes: bytes = b""


@dataclass(frozen=True, eq=False)
class StreamTable(_EqualByContent):
    """
    The streams of a source (`Baseline.streams`), a row for each series.

    Attributes:
        series: The encoded attributes of each series.
        width: Number of fields.
        totals: `StreamState.totals` of each series, field after field.
        ends: `StreamState.end_ns` of each series.
        key_index: The series of the keys of the last reading, if known.

    """

    series: EncodedAttributes
    width: int
    totals: bytes
    ends: bytes
    key_index: KeyIndex | None = field(default=None, repr=False)

    @classmethod
    def of(cls, streams: Mapping[Attributes, StreamState], width: int) -> "StreamTable":
        """Return the same streams in columns."""
        if isinstance(streams, StreamTable):
            return streams
        return cls(
            EncodedAttributes.of(map(encode_attributes, streams)),
            width,
            in_columns(state.totals for state in streams.values()),
            packed(state.end_ns for state in streams.values()),
        )

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Attributes]:
        return map(decode_attributes, self.series)

    def __getitem__(self, attributes: Attributes) -> StreamState:
        return self.as_dict[attributes]

    @cached_property
    def as_dict(self) -> dict[Attributes, StreamState]:
        """The same as a dict, which is large."""
        states = map(StreamState, _to_rows(self.totals, len(self)), memoryview(self.ends).cast("Q"))
        return dict(zip(self, states, strict=True))
