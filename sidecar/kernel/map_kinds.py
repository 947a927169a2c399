# SPDX-License-Identifier: Apache-2.0
"""The kinds of BPF maps and how each is read; supporting another kind starts with an entry here."""

from dataclasses import dataclass
from functools import cache

from sidecar.kernel import uapi


@dataclass(frozen=True)
class MapKind:
    """
    A type of map and what a reader must know of it.

    Attributes:
        name: The name in `enum bpf_map_type`, without `BPF_MAP_TYPE_`.
        is_array: Its keys are the indices below `max_entries`, and every one of them exists.
        is_per_cpu: A lookup returns one value for each possible CPU.
        is_trie: Its keys begin with the length of a prefix, and a lookup finds the longest one that matches.
        holds_maps: Its values are maps, each of which is read on its own.
        is_readable: Whether xdp-otel reads the values of maps of this kind.
        instead: What to name instead of a map of this kind, if there is anything better than another map.

    """

    name: str
    is_array: bool = False
    is_per_cpu: bool = False
    is_trie: bool = False
    holds_maps: bool = False
    is_readable: bool = True
    instead: str = ""


_INNER = "restart the sidecar to read the maps inside it"
_KINDS = {
    kind.name: kind
    for kind in (
        MapKind("ARRAY", is_array=True),
        MapKind("PERCPU_ARRAY", is_array=True, is_per_cpu=True),
        MapKind("HASH"),
        MapKind("LRU_HASH"),
        MapKind("PERCPU_HASH", is_per_cpu=True),
        MapKind("LRU_PERCPU_HASH", is_per_cpu=True),
        MapKind("LPM_TRIE", is_trie=True),
        MapKind("ARRAY_OF_MAPS", holds_maps=True, is_readable=False, instead=_INNER),
        MapKind("HASH_OF_MAPS", holds_maps=True, is_readable=False, instead=_INNER),
    )
}

READABLE = tuple(kind.name for kind in _KINDS.values() if kind.is_readable)
"""The names of the kinds that are read."""


@cache
def kind_of(map_type: int) -> MapKind:
    """Return the kind with this number in `enum bpf_map_type`; one the header lacks is named `type 99`."""
    name = uapi.MAP_TYPES[map_type] if map_type < len(uapi.MAP_TYPES) else f"type {map_type}"
    return _KINDS.get(name) or MapKind(name, is_readable=False)
