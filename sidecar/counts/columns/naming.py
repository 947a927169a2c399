# SPDX-License-Identifier: Apache-2.0
"""Encode the attributes of many series at once, as `attributes.encode_attributes` does, by numpy (pure)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from sidecar.attributes import encode_attributes, head_of_integer, head_of_text
from sidecar.counts.columns.arrays import Bytes, Offsets
from sidecar.counts.columns.names import by_length, lay_out, pieces
from sidecar.counts.columns.table import EncodedAttributes
from sidecar.model import Attribute, Attributes

# Series whose attributes are Python objects at the same time: more take longer, since they are searched for
# garbage again and again.
_AT_ONCE = 2048
_VARINT_BYTES = 10


def encode(series: Iterable[Attributes]) -> EncodedAttributes:
    """Return the encoded attributes of many series."""
    each = iter(series)
    encoded: list[bytes] = []
    lengths = [np.zeros(1, np.int64)]
    while some := list(islice(each, _AT_ONCE)):
        made = _in_columns(some)
        if made is None:
            plain = list(map(encode_attributes, some))
            made = b"".join(plain), np.fromiter(map(len, plain), np.int64, len(plain))
        encoded.append(made[0])
        lengths.append(made[1])
    return EncodedAttributes(b"".join(encoded), np.cumsum(np.concatenate(lengths)).tobytes())


def _in_columns(series: Sequence[Attributes]) -> tuple[bytes, Offsets] | None:
    """Return the same of some series, and the length of each; None if their attributes are of other types."""
    try:
        columns = [_column(attributes) for attributes in zip(*series, strict=True)]
    except (ValueError, OverflowError):
        return None  # some have more attributes than others, or other ones, or larger numbers
    if not columns:
        return b"", np.zeros(len(series), np.int64)
    lengths = np.sum([column.sizes for column in columns], axis=0)
    at = np.cumsum(lengths) - lengths
    blob = np.empty(int(lengths.sum()), np.uint8)
    for column in columns:
        column.write(blob, at)
        at += column.sizes
    return blob.tobytes(), lengths


@dataclass(frozen=True)
class _Column:
    """
    The same attribute of many series.

    Attributes:
        head: From the length of a value to the bytes that precede it.
        values: The bytes of the values.
        first: Where each begins.
        lengths: The length of each.
        sizes: The length of each attribute.

    """

    head: Callable[[int], bytes]
    values: bytes | Bytes
    first: Offsets
    lengths: Offsets
    sizes: Offsets

    def write(self, blob: Bytes, offsets: Offsets) -> None:
        """Write each attribute at its offset of *blob*."""
        for length, which in by_length(self.lengths):
            values = pieces(self.values, length)[self.first[which]] if length else None
            lay_out(blob, offsets[which], self.head(length), values)


def _column(attributes: Sequence[Attribute]) -> _Column:
    """
    Return an attribute of many series.

    Raises:
        ValueError: They have several keys, or values of several types or of another type, or text that is no
            UTF-8.
        OverflowError: A number does not fit into 64 bits.

    """
    keys, numbers_or_texts = zip(*attributes, strict=True)
    (key,), (kind,) = set(keys), set(map(type, numbers_or_texts))
    values: bytes | Bytes
    if kind is str:
        values = "".join(numbers_or_texts).encode()
        is_ascii = len(values) == sum(map(len, numbers_or_texts))
        texts = numbers_or_texts if is_ascii else [text.encode() for text in numbers_or_texts]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        first = np.cumsum(lengths) - lengths
    elif kind is int:
        values, lengths = _varints(np.array(numbers_or_texts, np.int64))
        first = np.arange(len(lengths)) * _VARINT_BYTES
    else:
        raise ValueError(kind)
    head = partial(head_of_text if kind is str else head_of_integer, key)
    sizes = np.zeros(lengths.max() + 1, np.int64)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        sizes[length] = len(head(length)) + length
    return _Column(head, values, first, lengths, sizes[lengths])


def _varints(numbers: Offsets) -> tuple[Bytes, Offsets]:
    """Return each number as a varint in ten bytes, of which the first are used; and how many."""
    left = numbers.view(np.uint64)
    bits = np.arange(0, 7 * _VARINT_BYTES, 7, dtype=np.uint64)
    shifted = left[:, np.newaxis] >> bits
    lengths = np.maximum(1, np.count_nonzero(shifted, axis=1))
    varints = (shifted & np.uint64(127) | np.uint64(128)).astype(np.uint8)
    varints[np.arange(len(numbers)), lengths - 1] &= 127
    return varints.reshape(-1), lengths
