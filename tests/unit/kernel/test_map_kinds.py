# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar.kernel import map_kinds, uapi
from sidecar.kernel.map_kinds import MapKind, kind_of


def test_every_kind_is_a_type_of_the_kernel():
    """An entry whose name the kernel does not have would never be found."""
    assert map_kinds._KINDS.keys() <= set(uapi.MAP_TYPES)


@pytest.mark.parametrize(
    ("map_type", "expected"),
    [
        (uapi.MAP_ARRAY, MapKind("ARRAY", is_array=True)),
        (uapi.MAP_PERCPU_ARRAY, MapKind("PERCPU_ARRAY", is_array=True, is_per_cpu=True)),
        (uapi.MAP_HASH, MapKind("HASH")),
        (uapi.MAP_LRU_HASH, MapKind("LRU_HASH")),
        (uapi.MAP_PERCPU_HASH, MapKind("PERCPU_HASH", is_per_cpu=True)),
        (uapi.MAP_LRU_PERCPU_HASH, MapKind("LRU_PERCPU_HASH", is_per_cpu=True)),
        (uapi.MAP_LPM_TRIE, MapKind("LPM_TRIE", is_trie=True)),
        (27, MapKind("RINGBUF", is_readable=False)),
        (99, MapKind("type 99", is_readable=False)),
    ],
)
def test_a_kind_is_found_by_the_number_of_its_type(map_type, expected):
    """Also if the type is newer than the table."""
    assert kind_of(map_type) == expected
