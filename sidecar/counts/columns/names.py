# SPDX-License-Identifier: Apache-2.0
"""Find, pick and move the names of many series without touching them one by one, by numpy (pure)."""

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.growth import Mask
from sidecar.counts.columns.match import Places, matched
from sidecar.counts.columns.table import EncodedAttributes

Bytes = NDArray[np.uint8]


def pieces(data: bytes | Bytes, size: int) -> NDArray[np.void]:
    """
    Return the *size* bytes from each byte on, as if they were one large number.

    So those of many places are read or written at once.
    """
    return np.ndarray((max(0, len(data) - size + 1),), f"V{size}", data, 0, (1,))


def bounds(names: EncodedAttributes) -> Places:
    """Return where each name begins, and where the last one ends."""
    return np.frombuffer(names.starts, np.int64)


def alike(one: EncodedAttributes, other: EncodedAttributes) -> int:
    """Return how many names both begin with."""
    fewest = min(len(one), len(other))
    ends = bounds(one)[1 : fewest + 1]
    same = ends == bounds(other)[1 : fewest + 1]
    size = min(len(one.encoded), len(other.encoded))
    differ = np.frombuffer(one.encoded, np.uint8, size) != np.frombuffer(other.encoded, np.uint8, size)
    if differ.any():
        same &= ends <= differ.argmax()
    return fewest if same.all() else int(same.argmin())


def only(names: EncodedAttributes, kept: Mask) -> EncodedAttributes:
    """Return some of the names."""
    lengths = np.diff(bounds(names))
    said = np.frombuffer(names.encoded, np.uint8)[np.repeat(kept, lengths)]
    return EncodedAttributes(said.tobytes(), np.append(0, np.cumsum(lengths[kept])).tobytes())


def places_of(names: EncodedAttributes, wanted: set[bytes]) -> dict[bytes, int]:
    """Return which of the names are wanted, and their places."""
    found: dict[bytes, int] = {}
    starts, lengths = bounds(names)[:-1], np.diff(bounds(names))
    by_length: dict[int, list[bytes]] = {}
    for name in wanted:
        by_length.setdefault(len(name), []).append(name)
    for length, alike in by_length.items():
        there = np.flatnonzero(lengths == length)
        # No two are the same, so there is at most one without any bytes.
        held = pieces(names.encoded, length)[starts[there]].tobytes() if length else b""
        which = matched(b"".join(alike), held, length).tolist() if length else [len(there) - 1]
        found |= {name: int(there[at]) for name, at in zip(alike, which, strict=True) if at >= 0}
    return found
