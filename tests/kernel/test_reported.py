# SPDX-License-Identifier: Apache-2.0
import pytest

from sidecar import bpf_syscall as bpf
from sidecar import bpf_uapi as uapi
from sidecar import reported


@pytest.fixture(autouse=True)
def pin_root(bpffs, monkeypatch, cleanup):
    root = bpffs / "test-reported"
    monkeypatch.setattr(reported, "PIN_ROOT", root)
    cleanup.callback(lambda: [*map(type(root).rmdir, root.glob("*")), root.rmdir()])
    return root


def test_a_mark_keeps_the_birth_it_was_made_with(make_map):
    """Marking again, with another birth, changes nothing: the series was born once."""
    map_id = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    assert reported.birth_ns(map_id) is None
    reported.mark(map_id, 1_795_000_000_000_000_001)
    reported.mark(map_id, 7)

    assert reported.birth_ns(map_id) == 1_795_000_000_000_000_001


def test_marks_of_maps_that_ended_are_swept(make_map, pin_root):
    """A program that is loaded anew every hour leaves no heap of marks."""
    reported.mark(2**31, 5)
    living = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    other = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(living, 6)
    reported.mark(other, 7)

    assert sorted(path.name for path in pin_root.iterdir()) == sorted(
        [f"reported-{living}-6", f"reported-{other}-7"]
    )


def test_a_map_whose_id_begins_alike_is_another(make_map):
    """Mark 12 is not mark 1."""
    map_id = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(map_id, 5)

    assert reported.birth_ns(int(str(map_id)[:-1])) is None
    reported.forget(map_id)
    assert reported.birth_ns(map_id) is None
