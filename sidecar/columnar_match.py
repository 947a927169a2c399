# SPDX-License-Identifier: Apache-2.0
"""Find the keys of one reading in another, by numpy (pure)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

# Odd, from the fractional part of the golden ratio: multiplying by it spreads bits upwards.
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)


@lru_cache(maxsize=2)
def matched(now: bytes, before: bytes, size: int) -> Places | None:
    """
    Return where each key of *now* stands in *before*, or -1; None if all stand where they stood.

    Both are keys of *size* bytes, one after the other, each once. The reading and the roster of a window ask
    for the same.
    """
    if now == before:
        return None
    if not before:
        return np.full(len(now) // size, -1, np.int64)
    ours, theirs = _mixed(now, size), _mixed(before, size)
    order = np.argsort(theirs)
    in_order = theirs[order]
    if (in_order[1:] == in_order[:-1]).any():
        return _one_by_one(now, before, size)
    found = order[np.minimum(np.searchsorted(in_order, ours), len(order) - 1)]
    same = (_rows(now, size) == _rows(before, size)[found]).all(axis=1)
    places: Places = np.where(same, found, -1)
    return places


def _rows(keys: bytes, size: int) -> NDArray[np.uint8]:
    return np.frombuffer(keys, np.uint8).reshape(-1, size)


def _mixed(keys: bytes, size: int) -> NDArray[np.uint64]:
    """Return a number for each key, the same for the same key, and hardly ever for two."""
    words = -(-size // 8)
    padded = np.zeros((len(keys) // size, 8 * words), np.uint8)
    padded[:, :size] = _rows(keys, size)
    mixed = np.zeros(len(padded), np.uint64)
    for word in padded.view(np.uint64).T:
        mixed = (mixed ^ word) * _SPREAD
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _one_by_one(now: bytes, before: bytes, size: int) -> Places:
    places = {before[at : at + size]: at // size for at in range(0, len(before), size)}
    keys = (now[at : at + size] for at in range(0, len(now), size))
    return np.fromiter((places.get(key, -1) for key in keys), np.int64, len(now) // size)
