# SPDX-License-Identifier: Apache-2.0
"""
The labels of the series of a source, for a page (pure).

They take several times as long to render as a number, and are the same for all metrics of a source. So a page
keeps them until it is complete, as far as the memory that all pages share allows.
"""

from collections.abc import Iterator, Sequence

from sidecar.counts.columns import SeriesTable
from sidecar.model import Series
from sidecar.observe.labels import labels

BLOCK = 2048
"""So many series are rendered at once, in a millisecond or two: the loop may wait for that long."""

_KEPT_BYTES = 1 << 24


class Room:
    """The memory for the labels that all pages together keep."""

    def __init__(self, left: int = _KEPT_BYTES) -> None:
        """*left* is its size in bytes."""
        self.left = left


class SeriesLabels:
    """The labels of the series of one source, block by block, for one page."""

    def __init__(self, series: Sequence[Series], room: Room) -> None:
        """Keep nothing yet."""
        self._series, self._room = series, room
        self._kept: dict[int, bytes] = {}

    def blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number of the first series of each block, and the labels of all its series."""
        for first in range(0, len(self._series), BLOCK):
            yield first, self._block(first)

    def release(self) -> None:
        """Forget what is kept."""
        self._room.left += sum(map(len, self._kept.values()))
        self._kept.clear()

    def _block(self, first: int) -> list[bytes]:
        # No label has a newline of its own: it is escaped.
        if first in self._kept:
            return self._kept[first].split(b"\n")
        texts = self._rendered(slice(first, first + BLOCK))
        together = b"\n".join(texts)
        if len(together) <= self._room.left:
            self._kept[first] = together
            self._room.left -= len(together)
        return texts

    def _rendered(self, block: slice) -> list[bytes]:
        if isinstance(self._series, SeriesTable):
            from sidecar.observe import columns_labels  # noqa: PLC0415  # it needs numpy

            return columns_labels.render(self._series.names, self._series.rows[block])
        return [labels(each.attributes) for each in self._series[block]]
