# SPDX-License-Identifier: Apache-2.0
"""
From the names of many places to the encoded attributes of their series, by numpy (pure).

Parts of a form that is known are decoded all at once; of others of up to eight bytes, such as an interface or
a protocol, each value once; longer ones one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sidecar.attributes import encode_attributes, head_of_integer, head_of_text
from sidecar.counts.columns import naming
from sidecar.counts.columns.arrays import Bytes, Offsets, Rows
from sidecar.counts.columns.names import Strings, bounds, take, together, varints
from sidecar.counts.columns.placing import Places, labels_of
from sidecar.counts.columns.table import EncodedAttributes
from sidecar.schema import CPU_BYTES, LabelPart, PartsLabel, Schema, View

# Few enough that their bytes stay in the processor's caches.
_AT_ONCE = 1 << 14
_WORD = 8
# Never a byte of ASCII: it fills up a text that is shorter than its column.
_FILL = 0xFF
_HEX = np.array([list(b"%02x" % byte) for byte in range(256)], np.uint8)
_OCTETS = np.array([list((b"%d." % byte).ljust(4, b"\xff")) for byte in range(256)], np.uint8)


@dataclass(frozen=True)
class _Column:
    """
    An attribute of many places.

    Attributes:
        part: What it is.
        first: The first byte of it in the name of a place.
        raw: From the name to what `LabelPart.decode` takes.

    """

    part: LabelPart
    first: int
    raw: Callable[[bytes], bytes]

    def strings(self, names: Bytes) -> Strings:
        """
        Return the encoded attributes, given the names of some places, a row for each.

        Raises:
            ValueError: The values are of several types, or no UTF-8.

        """
        part, size = self.part, self.part.last - self.part.first
        read = names[:, self.first : self.first + size]
        if part.form in _TEXTS:
            return _TEXTS[part.form](part.name, read)
        if part.form:
            return _integers(part.name, np.ascontiguousarray(read).view(part.form).reshape(-1))
        if 0 < size <= _WORD:
            return self._by_value(names, read)
        values = [(part.name, part.decode(self.raw(name.tobytes()))) for name in names]
        return naming.column(values)

    def _by_value(self, names: Bytes, read: Bytes) -> Strings:
        words = np.zeros((len(names), _WORD), np.uint8)
        words[:, : read.shape[1]] = read
        _, rows, which = np.unique(words.view(np.uint64), return_index=True, return_inverse=True)
        each = [
            encode_attributes([(self.part.name, self.part.decode(self.raw(names[row].tobytes())))])
            for row in rows.tolist()
        ]
        lengths = np.array(list(map(len, each)), np.int64)
        of_all = which.reshape(-1)
        return Strings(b"".join(each), (np.cumsum(lengths) - lengths)[of_all], lengths[of_all])


def encode_places(places: Places, which: Rows, key_size: int, schema: Schema) -> EncodedAttributes:
    """Return the encoded attributes of the series of some places."""
    if places.views is None:
        return _encode(places, which, 0, key_size, schema)
    views = places.views[which]
    encoded, order = EncodedAttributes.of([]), np.argsort(views, kind="stable")
    for number in np.unique(views).tolist():
        encoded = together(encoded, _encode(places, which[views == number], number, key_size, schema))
    # Back into the order of the places.
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return take(encoded, back)


def _encode(places: Places, which: Rows, view: int, key_size: int, schema: Schema) -> EncodedAttributes:
    """Return the same of places of one view."""
    columns, label = _columns_of(schema.parts[view].view, key_size, schema), labels_of(schema, key_size)
    if columns is None:
        return naming.encode(label(places.name(at)) for at in which.tolist())
    fixed = encode_attributes(schema.attributes)
    all_names = np.frombuffer(places.names, np.uint8).reshape(-1, places.size)
    encoded: list[bytes] = []
    lengths = [np.zeros(1, np.int64)]
    for first in range(0, len(which), _AT_ONCE):
        some = which[first : first + _AT_ONCE]
        names = all_names[some]
        try:
            strings = [column.strings(names) for column in columns]
        except ValueError:
            plain = naming.encode(label(name.tobytes()) for name in names)
            encoded.append(plain.encoded)
            lengths.append(bounds(plain)[1:] - bounds(plain)[:-1])
            continue
        if fixed:
            strings.insert(0, Strings(fixed, np.zeros_like(some), np.full_like(some, len(fixed))))
        blob, sizes = naming.lay_out_columns(strings, len(some))
        encoded.append(blob)
        lengths.append(sizes)
    return EncodedAttributes(b"".join(encoded), np.cumsum(np.concatenate(lengths)).tobytes())


def _columns_of(view: View, key_size: int, schema: Schema) -> Sequence[_Column] | None:
    """Return the attributes of the places of a view, but for fixed ones; None: their parts are unknown."""
    value = schema.value_label
    if not isinstance(view.label, PartsLabel) or not (value is None or isinstance(value.label, PartsLabel)):
        return None
    size = key_size - (0 if schema.cpu is None else CPU_BYTES)
    columns = [_Column(part, part.first, lambda name: name[:size]) for part in view.label.parts]
    if value is not None and isinstance(value.label, PartsLabel):
        end, of = key_size + len(value.offsets), value.value
        for part in value.label.parts:
            first = key_size + value.offsets.index(part.first) if part.last else 0
            columns.append(_Column(part, first, lambda name: of(name[key_size:end])))
    if schema.cpu is not None:
        cpu = LabelPart(schema.cpu, int, size, key_size, f"=u{CPU_BYTES}")
        columns.append(_Column(cpu, size, bytes))
    return columns


def _integers(name: str, numbers: "np.ndarray[tuple[int, ...], np.dtype[np.integer]]") -> Strings:
    encoded, lengths = varints(numbers.astype(np.int64).view(np.uint64))
    first = np.arange(len(lengths)) * encoded.shape[1]
    return Strings(encoded.reshape(-1), first, lengths, partial(head_of_integer, name))


def _hex(name: str, read: Bytes) -> Strings:
    return _texts(name, _HEX[read].reshape(len(read), -1))


def _mac(name: str, read: Bytes) -> Strings:
    digits = np.full((len(read), read.shape[1], 3), ord(":"), np.uint8)
    digits[:, :, :2] = _HEX[read]
    return _texts(name, digits.reshape(len(read), -1)[:, :-1])


def _ipv4(name: str, read: Bytes) -> Strings:
    digits = _OCTETS[read]
    last = digits[:, -1]
    last[last == ord(".")] = _FILL
    return _texts(name, digits.reshape(len(read), -1))


def _texts(name: str, digits: Bytes) -> Strings:
    """Return attributes of text, given a row for each that is filled up."""
    used = digits != _FILL
    lengths: Offsets = np.count_nonzero(used, axis=1)
    return Strings(digits[used], np.cumsum(lengths) - lengths, lengths, partial(head_of_text, name))


_TEXTS = {"hex": _hex, "mac": _mac, "ipv4": _ipv4}
