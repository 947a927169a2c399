# SPDX-License-Identifier: Apache-2.0
"""
The points of many series one after the other, with zeros for their numbers, by numpy (pure).

No step is per point: series whose names have the same length are laid out together. `points` defines what a
point looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidecar.counts.columns import EncodedAttributes, SeriesTable
from sidecar.counts.columns.arrays import Bytes, Mask, Offsets, Rows
from sidecar.counts.columns.names import bounds, by_length, lay_out, pieces
from sidecar.otlp import points


@dataclass(frozen=True)
class Template:
    """
    The points of some series one after the other, with zeros for their numbers.

    Attributes:
        blob: The bytes.
        starts: Where the points of each series begin, and where the last one ends.
        window: Where the length of each point of the window ends, series by series.
        base: The same for the base points; each precedes that of the window.

    """

    blob: Bytes
    starts: Offsets
    window: Offsets
    base: Offsets


def template_of(
    names: EncodedAttributes,
    series: SeriesTable,
    zeros: bytes,
    suffixes: Sequence[bytes],
    has_base: Mask,
    view: int,
) -> Template:
    """
    Return the template of some series, whose attributes in these points are *names* (`template`).

    That of all series of a *view* in a window is kept with their names: most windows have the same series.
    """
    with_base = bool(has_base.all())
    if series.row_bytes is None or (has_base.any() and not with_base):
        return template(names, series.rows, zeros, suffixes, has_base)
    which, form = (series.row_bytes, with_base), (view, zeros, *suffixes)
    of, kept = names.kept.get(form, (None, None))
    if not isinstance(kept, Template) or of != which:
        kept = template(names, series.rows, zeros, suffixes, has_base)
        names.kept[form] = which, kept
    return kept


def template(
    names: EncodedAttributes, rows: Rows, zeros: bytes, suffixes: Sequence[bytes], has_base: Mask
) -> Template:
    """
    Return the points of the series in *rows*.

    Args:
        names: The attributes of all series.
        rows: The indexes of some of them.
        zeros: What precedes the attributes in a point.
        suffixes: For each point of a series, the attributes that follow those of the series.
        has_base: Which series have a base point before each of their points.

    """
    first = bounds(names)[rows]
    lengths = bounds(names)[rows + 1] - first
    alike = list(by_length(lengths))
    fronts = {
        length: [points.head(len(zeros) + length + len(each)) + zeros for each in suffixes]
        for length, _ in alike
    }
    # By length and suffix.
    fronts_of = np.zeros((lengths.max(initial=0) + 1, len(suffixes)), np.int64)
    for length, of_length in fronts.items():
        fronts_of[length] = list(map(len, of_length))
    front = np.take(fronts_of, lengths, axis=0)
    sizes = front + lengths[:, np.newaxis] + np.array(list(map(len, suffixes)))
    # The points of one series are adjacent.
    ends = np.cumsum(sizes * (1 + has_base[:, np.newaxis])).reshape(sizes.shape)
    begins = ends - sizes
    blob = np.empty(int(ends.max(initial=0)), np.uint8)
    for length, which in alike:
        with_base = which[has_base[which]]
        both = np.append(which, with_base)
        middles = pieces(names.encoded, length)[first[both]] if length else None
        for at, suffix in enumerate(suffixes):
            offsets = begins[both, at]
            offsets[len(which) :] -= sizes[with_base, at]
            lay_out(blob, offsets, fronts[length][at], middles, suffix)
    window = begins + front - len(zeros)
    base = (window - sizes)[has_base]
    return Template(blob, np.append(0, ends[:, -1]), window.reshape(-1), base.reshape(-1))
