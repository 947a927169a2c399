# SPDX-License-Identifier: Apache-2.0
"""Which numbers of which series a key counts in: the views of a schema, applied (pure)."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sidecar.counts.columns import columnar_rows
from sidecar.model import Attributes, Reading
from sidecar.schema import CPU_BYTES, OVERFLOW, Part, Schema
from sidecar.u64 import U64

Numbers = tuple[int, ...]


class Placed:
    """
    Numbers of keys, added up by series, modulo 2^64.

    Attributes:
        views: The views in which each series has a key (`Series.views`), if there are several.
        labels: Those of the reading whose keys are placed (`Reading.labels`).

    """

    def __init__(self, schema: Schema) -> None:
        """Begin without any."""
        self.views: dict[Attributes, int] = {}
        self.labels: Mapping[bytes, Attributes] = {}
        self._schema = schema
        self._numbers: dict[Attributes, list[int]] = {}

    def parts(self, key: bytes) -> Sequence[Part]:
        """Return the views that a key belongs to."""
        schema = self._schema
        if not schema.views:
            return schema.parts
        raw = key if schema.cpu is None else key[:-CPU_BYTES]
        return [part for part in schema.parts if part.view.selects is None or part.view.selects(raw)]

    def has(self, key: bytes) -> bool:
        """Return whether a key belongs to some view."""
        return bool(self.parts(key))

    def rows_of(self, reading: Reading) -> Reading:
        """Return the same reading, but with the rows alone that have metrics of their own, if all have."""
        if not self._schema.views:
            return reading
        each = [part.view.row for part in self._schema.parts]
        rows = [row for row in dict.fromkeys(each) if row is not None]
        if None in each or self._schema.cpu is not None or not reading.cells:
            return reading
        cells = columnar_rows(reading.cells, rows)
        if cells is None:
            cells = {row: reading.cells[row] for row in rows if row in reading.cells}
        return replace(reading, cells=cells)

    def add_unused_rows(self, known: Container[bytes]) -> None:
        """Add zeros for each row that has a metric of its own and is not *known*: it never counted."""
        if not self._schema.views:
            return
        zeros = (0,) * len(self._schema.layout.fields)
        for part in self.unused_rows(known):
            self.add(part.view.row or b"", [part], zeros)

    def items(self) -> Iterator[tuple[Attributes, Numbers]]:
        """Yield each series with its numbers."""
        return ((attributes, tuple(numbers)) for attributes, numbers in self._numbers.items())

    def each(
        self, key: bytes, parts: Iterable[Part], of_key: Numbers, *, is_decodable: bool = True
    ) -> Iterator[tuple[Attributes, dict[int, int]]]:
        """Yield the series of a key in the views *parts*, each with the numbers that `add` would add."""
        schema = self._schema
        raw = key if schema.cpu is None else key[:-CPU_BYTES]
        for part in parts:
            view = part.view
            attributes: Attributes = (*schema.attributes, OVERFLOW)
            if is_decodable:
                attributes = schema.attributes_of(key, view.label, self.labels)
            first = part.first + (view.bucket(raw) if view.bucket else 0) * len(part.picks)
            yield attributes, {at: of_key[pick] for at, pick in enumerate(part.picks, first)}

    def unused_rows(self, known: Container[bytes]) -> Iterator[Part]:
        """Yield each view of a row that has a metric of its own and is not *known*: it never counted."""
        for part in self._schema.parts if self._schema.cpu is None else ():
            if part.view.row is not None and part.view.row not in known:
                yield part

    def add(self, key: bytes, parts: Iterable[Part], of_key: Numbers, *, is_decodable: bool = True) -> None:
        """
        Add the numbers of a key, one for each field of the layout, in the views *parts*.

        Unless *is_decodable*, the key is of a map with other keys: it goes to the overflow series.
        """
        schema = self._schema
        raw = key if schema.cpu is None else key[:-CPU_BYTES]
        for part in parts:
            view = part.view
            if not is_decodable:
                attributes: Attributes = (*schema.attributes, OVERFLOW)
            else:
                attributes = schema.attributes_of(key, view.label, self.labels)
            numbers = self._numbers.get(attributes)
            if numbers is None:
                numbers = self._numbers[attributes] = [0] * len(schema.numbers)
            bucket = view.bucket(raw) if view.bucket else 0
            first = part.first + bucket * len(part.picks)
            for at, pick in enumerate(part.picks, first):
                numbers[at] = numbers[at] + of_key[pick] & U64
            if len(schema.parts) > 1:
                self.views[attributes] = self.views.get(attributes, 0) | part.bit
