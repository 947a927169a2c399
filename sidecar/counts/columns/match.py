# SPDX-License-Identifier: Apache-2.0
"""Find the keys of one reading in another, by numpy (pure)."""

import os
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Words = NDArray[np.uint64]

# Odd, so that multiplying by it loses nothing; nobody outside knows it, who could choose keys that clash.
_SPREAD = np.uint64(int.from_bytes(os.urandom(8), "little") | 1)


@lru_cache(maxsize=1)
def matched(now: bytes, before: bytes, size: int) -> Places:
    """
    Return where each key of *now* stands in *before*, or -1.

    Both are keys of *size* bytes, one after the other, each once. The reading and the key index of a window
    ask for the same.
    """
    ours, theirs = _words(now, size), _words(before, size)
    our_hash, their_hash = _hashed(ours), _hashed(theirs)
    bits = max(1, (2 * len(their_hash)).bit_length())
    table = np.empty(1 << bits, np.int64)
    places = np.full(len(our_hash), -1, np.int64)
    sought, hidden = np.arange(len(our_hash)), np.arange(len(their_hash))
    # A hash table made in rounds: of the keys that share a slot one is in it, and is met by all who look
    # there; the others hide until the next round. Whoever finds a slot empty is not there at all.
    while len(sought) and len(hidden):
        slots = _slots(their_hash[hidden], bits)
        table.fill(-1)
        table[slots] = hidden
        met = table[_slots(our_hash[sought], bits)]
        same = (met >= 0) & (ours[:, sought] == theirs[:, met]).all(axis=0)
        places[sought[same]] = met[same]
        sought, hidden = sought[~same & (met >= 0)], hidden[table[slots] != hidden]
        our_hash, their_hash = our_hash * _SPREAD + np.uint64(1), their_hash * _SPREAD + np.uint64(1)
    return places


def _words(keys: bytes, size: int) -> Words:
    """Return the keys in columns of 8 bytes, filled up with zeros."""
    count = len(keys) // size
    padded = np.zeros((count, -(-size // 8) * 8), np.uint8)
    padded[:, :size] = np.frombuffer(keys, np.uint8).reshape(count, size)
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _hashed(words: Words) -> Words:
    """Return a number for each key, the same for the same key, and hardly ever for two."""
    mixed = np.zeros(words.shape[1], np.uint64)
    for word in words:
        mixed = (mixed ^ word) * _SPREAD
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _slots(hashed: Words, bits: int) -> Places:
    return ((hashed * _SPREAD) >> np.uint64(64 - bits)).astype(np.int64)
