# SPDX-License-Identifier: Apache-2.0
"""Find the keys of one reading in another, by numpy (pure)."""

import os
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sidecar.counts.columns.arrays import Rows

Words = NDArray[np.uint64]

# Odd, so that multiplication by it loses no bits; random, so that nobody can choose keys that collide.
_MULTIPLIER = np.uint64(int.from_bytes(os.urandom(8), "little") | 1)


@lru_cache(maxsize=1)
def find_rows(now: bytes, before: bytes, key_size: int) -> Rows:
    """
    Return the row in *before* of each key of *now*, or -1.

    Both hold distinct keys of *key_size* bytes, one after the other. The result is cached because the growth
    and the key index of a window need the same.
    """
    # A hash join in rounds. In each round all candidates of *before* are written into a hash table. Of those
    # that collide the last one stays, and the others are candidates of the next round, under another hash. A
    # key of *now* that hits an empty slot is not in *before*; one that hits another key tries the next round.
    keys, known_keys = _words(now, key_size), _words(before, key_size)
    hashes, known_hashes = _hash(keys), _hash(known_keys)
    bits = max(1, (2 * len(known_hashes)).bit_length())
    table = np.empty(1 << bits, np.int64)
    rows = np.full(len(hashes), -1, np.int64)
    unmatched, candidates = np.arange(len(hashes)), np.arange(len(known_hashes))
    while len(unmatched) and len(candidates):
        slots = _slots(known_hashes[candidates], bits)
        table.fill(-1)
        table[slots] = candidates
        candidates = candidates[table[slots] != candidates]

        hits = table[_slots(hashes[unmatched], bits)]
        unmatched, hits = unmatched[hits >= 0], hits[hits >= 0]
        is_same = (keys[:, unmatched] == known_keys[:, hits]).all(axis=0)
        rows[unmatched[is_same]] = hits[is_same]
        unmatched = unmatched[~is_same]
        hashes, known_hashes = _rehash(hashes), _rehash(known_hashes)
    return rows


def hashed(keys: bytes, key_size: int) -> Words:
    """Return a 64-bit hash of each key."""
    return _hash(_words(keys, key_size))


def _words(keys: bytes, key_size: int) -> Words:
    """Return the keys as u64, padded with zeros: a row for each word, a column for each key."""
    count = len(keys) // key_size
    padded = np.zeros((count, -(-key_size // 8) * 8), np.uint8)
    padded[:, :key_size] = np.frombuffer(keys, np.uint8).reshape(count, key_size)
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _hash(words: Words) -> Words:
    """Return a 64-bit hash of each key."""
    mixed = np.zeros(words.shape[1], np.uint64)
    for word in words:
        mixed = (mixed ^ word) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _rehash(hashes: Words) -> Words:
    return hashes * _MULTIPLIER + np.uint64(1)


def _slots(hashes: Words, bits: int) -> Rows:
    return ((hashes * _MULTIPLIER) >> np.uint64(64 - bits)).astype(np.int64)
