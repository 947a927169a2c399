# SPDX-License-Identifier: Apache-2.0
"""Encode the attributes of many series at once, as `attributes.encode_attributes` does, by numpy (pure)."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

import numpy as np

from sidecar.attributes import encode_attributes, head_of_integer, head_of_text
from sidecar.counts.columns.arrays import Offsets
from sidecar.counts.columns.names import Strings, varints
from sidecar.counts.columns.table import EncodedAttributes
from sidecar.model import Attribute, Attributes

# Series whose attributes are Python objects at the same time: more take longer, since they are searched for
# garbage again and again.
_AT_ONCE = 2048


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
        columns = [column(attributes) for attributes in zip(*series, strict=True)]
    except ValueError:
        return None  # some have more attributes than others, or other ones, or larger numbers
    return lay_out_columns(columns, len(series))


def lay_out_columns(columns: Sequence[Strings], count: int) -> tuple[bytes, Offsets]:
    """Return the attributes of *count* series, each those of all columns; and how long they are."""
    if not columns:
        return b"", np.zeros(count, np.int64)
    lengths = np.sum([each.sizes for each in columns], axis=0)
    at = np.cumsum(lengths) - lengths
    blob = np.empty(int(lengths.sum()), np.uint8)
    for each in columns:
        each.write(blob, at)
        at += each.sizes
    return blob.tobytes(), lengths


def column(attributes: Sequence[Attribute]) -> Strings:
    """
    Return an attribute of many series.

    Raises:
        ValueError: They have several keys, or values of several types or of another type, text that is no
            UTF-8, or a number of more than 64 bits.

    """
    keys, values = zip(*attributes, strict=True)
    (key,), (kind,) = set(keys), set(map(type, values))
    if kind is int:
        try:
            numbers = np.array(values, np.int64)
        except OverflowError as error:
            raise ValueError(*error.args) from error
        encoded, lengths = varints(numbers.view(np.uint64))
        first = np.arange(len(lengths)) * encoded.shape[1]
        return Strings(encoded.reshape(-1), first, lengths, partial(head_of_integer, key))
    if kind is not str:
        raise ValueError(kind)
    text = "".join(values).encode()
    is_ascii = len(text) == sum(map(len, values))
    texts = values if is_ascii else [value.encode() for value in values]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return Strings(text, np.cumsum(lengths) - lengths, lengths, partial(head_of_text, key))
