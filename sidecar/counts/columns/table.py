# SPDX-License-Identifier: Apache-2.0
"""
What a large map is held in: numbers in bytes, column after column, instead of an object for each (pure).

Both are mappings like those they stand for, so whoever has time for one object after the other need not know
them. `columnar_delta` and the journal take their bytes as they are. Numbers are u64 in this machine's byte
order. Nothing here needs numpy.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any

from sidecar.attributes import decode_attributes, encode_attributes
from sidecar.model import Attributes, Cells, StreamState

# numpy, once it is imported, brings a library that starts a thread for each CPU, for what nobody does here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COLUMNAR_FROM = 512
"""
A map of more entries than this is read into columns.

With as many, the plain way takes 10 to 20 ms a cycle for each field, this one 1 ms. But numpy takes 12 MB.
"""


def packed(numbers: Iterable[int]) -> bytes:
    """Return numbers as they are held here."""
    return array("Q", numbers).tobytes()


def _by_column(rows: Iterable[tuple[int, ...]]) -> bytes:
    return packed(chain.from_iterable(zip(*rows, strict=True)))


def _rows(numbers: bytes, count: int) -> Iterator[tuple[int, ...]]:
    cells = memoryview(numbers).cast("Q")
    return zip(*(cells[at : at + count] for at in range(0, len(cells), count or 1)), strict=True)


class _Held(Mapping[Any, Any]):
    """A mapping is equal to any other that has the same."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Table(_Held):
    """
    The cells of a map.

    Attributes:
        names: Its keys, one after the other.
        size: Bytes of each.
        numbers: Its cells, column after column.

    """

    names: bytes
    size: int
    numbers: bytes

    @classmethod
    def of(cls, cells: Cells, size: int) -> "Table":
        """Return the same cells in columns."""
        if isinstance(cells, Table):
            return cells
        return cls(b"".join(cells), size, _by_column(cells.values()))

    def __len__(self) -> int:
        return len(self.names) // self.size

    def __iter__(self) -> Iterator[bytes]:
        return (self.names[at : at + self.size] for at in range(0, len(self.names), self.size))

    def key(self, at: int) -> bytes:
        """Return the key of a row."""
        return self.names[at * self.size : (at + 1) * self.size]

    def __getitem__(self, key: bytes) -> tuple[int, ...]:
        return self.one_by_one[key]

    @cached_property
    def one_by_one(self) -> dict[bytes, tuple[int, ...]]:
        """The same as a dict, which is large."""
        return dict(zip(self, _rows(self.numbers, len(self)), strict=True))


def key_size(cells: Cells) -> int:
    """Return the bytes of each key; 0 if there is none."""
    return cells.size if isinstance(cells, Table) else len(next(iter(cells), b""))


@dataclass(frozen=True, eq=False)
class EncodedAttributes:
    """
    The names of many series (see `points`).

    Attributes:
        encoded: One after the other.
        starts: Where each begins, and where the last one ends, u64.

    """

    encoded: bytes
    starts: bytes

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "EncodedAttributes":
        """Put names together."""
        each = list(names)
        return cls(b"".join(each), packed(accumulate(map(len, each), initial=0)))

    def __len__(self) -> int:
        return len(self.starts) // 8 - 1

    def __iter__(self) -> Iterator[bytes]:
        return (self.encoded[first:last] for first, last in pairwise(memoryview(self.starts).cast("Q")))

    def __getitem__(self, at: int) -> bytes:
        first, last = memoryview(self.starts).cast("Q")[at : at + 2]
        return self.encoded[first:last]

    def __add__(self, more: "EncodedAttributes") -> "EncodedAttributes":
        ends = memoryview(more.starts).cast("Q")[1:]
        return EncodedAttributes(
            self.encoded + more.encoded, self.starts + packed(len(self.encoded) + end for end in ends)
        )


@dataclass(frozen=True)
class KeyIndex:
    """
    To which account each key of one reading was posted.

    Attributes:
        schema: By whose labels.
        names: The keys, as in a `Table`.
        places: For each its place in the streams, i64; -1 if there was no room for its series.
        waiting: The series of those without room, in the order of the keys.

    """

    schema: object
    names: bytes
    places: bytes
    waiting: tuple[bytes, ...]


@dataclass(frozen=True, eq=False)
class StreamTable(_Held):
    """
    The streams of a source.

    Attributes:
        series: The series.
        width: Fields of an account's totals.
        totals: Of each series, field after field.
        ends: `StreamState.end_ns` of each.
        key_index: Where the keys of the last reading were posted, if that is known.

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
            _by_column(one.totals for one in streams.values()),
            packed(one.end_ns for one in streams.values()),
        )

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Attributes]:
        return map(decode_attributes, self.series)

    def __getitem__(self, attributes: Attributes) -> StreamState:
        return self.one_by_one[attributes]

    @cached_property
    def one_by_one(self) -> dict[Attributes, StreamState]:
        """The same as a dict, which is large."""
        streams = map(StreamState, _rows(self.totals, len(self)), memoryview(self.ends).cast("Q"))
        return dict(zip(self, streams, strict=True))
