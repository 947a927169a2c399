# SPDX-License-Identifier: Apache-2.0
import os
import time
from pathlib import Path

import pytest

from sidecar.kernel import reported, uapi
from sidecar.kernel import syscall as bpf


@pytest.fixture(autouse=True)
def pin_root(bpffs, monkeypatch, cleanup):
    root = bpffs / "test-reported"
    monkeypatch.setattr(reported, "PIN_ROOT", root)
    cleanup.callback(remove, root)
    return root


def remove(root):
    if root.is_symlink():
        root.unlink()
        return
    for path in root.glob("*") if root.exists() else ():
        path.unlink() if path.is_symlink() else path.rmdir()
    if root.exists():
        root.rmdir()


BIRTH = 1_795_000_000_000_000_001
OTHER = 12345


def test_a_mark_keeps_its_first_start_time(make_map):
    """Marking again with another start time changes nothing: the series have only one."""
    map_id = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    assert reported.start_time_ns(map_id) is None
    reported.mark(map_id, BIRTH)
    reported.mark(map_id, BIRTH + 7)

    assert reported.start_time_ns(map_id) == BIRTH


def test_marks_of_ended_maps_are_removed(make_map, pin_root):
    """A program that is reloaded every hour does not accumulate marks."""
    reported.mark(2**31, BIRTH)
    living = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    other = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(living, BIRTH)
    reported.mark(other, BIRTH)

    assert sorted(path.name for path in pin_root.iterdir()) == sorted(
        [f"reported-{living}-{BIRTH}", f"reported-{other}-{BIRTH}"]
    )


def test_an_id_with_the_same_prefix_is_another_map(make_map):
    """The mark of map 12 is not that of map 1."""
    map_id = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(map_id, BIRTH)

    assert reported.start_time_ns(int(str(map_id)[:-1])) is None
    reported.forget(map_id)
    assert reported.start_time_ns(map_id) is None


def of_somebody_else(path):
    path.mkdir()
    os.chown(path, OTHER, OTHER)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (of_somebody_else, f"reported-41-{BIRTH}"),
        (lambda path: path.symlink_to("/sys/fs/bpf"), f"reported-41-{BIRTH}"),
        (Path.mkdir, "reported-41-"),
        (Path.mkdir, "reported-41-x"),
        (Path.mkdir, "reported-41--5000000"),
        (Path.mkdir, "reported-41-99999999999999999999"),
        (Path.mkdir, f"reported-41-{1 << 63}"),
        (Path.mkdir, "reported-41-\u0661\u0661\u0661\u0661\u0661\u0661"),
        (Path.mkdir, f"reported-41-{BIRTH}-1"),
        (Path.mkdir, "reported-4-1"),  # an interface of that name
    ],
)
def test_an_invalid_mark_is_ignored(pin_root, plant, name):
    """Anybody may create entries in a bpffs of mode 1777: they neither suppress an export nor end us."""
    pin_root.mkdir()
    plant(pin_root / name)

    assert reported.start_time_ns(41) is None
    assert reported.start_time_ns(4) is None
    reported.mark(42, BIRTH)
    reported.forget(41)
    assert reported.start_time_ns(42) == BIRTH
    assert os.path.lexists(pin_root / name)


def test_the_earliest_of_several_start_times_counts(pin_root):
    """Two sidecars may have marked a map; they are compared as numbers, not as text."""
    reported.mark(41, 20_000_000)
    (pin_root / "reported-41-3000000").mkdir()

    assert reported.start_time_ns(41) == 3_000_000


@pytest.mark.parametrize("plant", [lambda root: root.symlink_to("/sys/fs/bpf"), of_somebody_else])
def test_a_root_of_another_user(pin_root, plant):
    """A link is not followed, to find marks or to make one; a directory may have been given to us."""
    plant(pin_root)
    assert reported.start_time_ns(41) is None
    if pin_root.is_symlink():
        with pytest.raises(NotADirectoryError):
            reported.mark(41, BIRTH)
        assert not list(Path("/sys/fs/bpf").glob(f"reported-*-{BIRTH}"))
    else:
        reported.mark(41, BIRTH)
        assert reported.start_time_ns(41) == BIRTH


def forbidden(_map_id):
    raise PermissionError(1, "Operation not permitted")


def test_without_cap_sys_admin_the_oldest_excess_marks_are_removed(pin_root, monkeypatch):
    """Which maps have ended cannot be known then, and marks must not accumulate either."""
    monkeypatch.setattr(bpf, "map_fd_by_id", forbidden)
    monkeypatch.setattr(reported, "MOST", 4)
    for map_id in (9, 1, 8, 2, 7, 3):
        reported.mark(map_id, BIRTH)
        time.sleep(0.01)  # bpffs has the time of a tick

    assert {path.name.split("-")[1] for path in pin_root.iterdir()} == {"8", "2", "7", "3"}


def test_a_mark_that_is_not_empty_stays(pin_root):
    """That it cannot be removed is no error."""
    reported.mark(2**31, BIRTH)
    (pin_root / f"reported-{2**31}-{BIRTH}" / "something").mkdir()
    try:
        reported.mark(2**31 - 1, BIRTH)
        reported.forget(2**31)
    finally:
        (pin_root / f"reported-{2**31}-{BIRTH}" / "something").rmdir()


@pytest.mark.parametrize("mask", [0, 0o077], ids=oct)
def test_the_directory_gets_its_mode(pin_root, mask):
    """Whatever the umask."""
    before = os.umask(mask)
    try:
        reported.mark(41, BIRTH)
    finally:
        os.umask(before)

    assert pin_root.stat().st_mode & 0o7777 == 0o711


def test_a_mark_names_the_state_directories(make_map, pin_root):
    """Each is added to the first mark, also to one of a version that named none; all go with the map."""
    map_id = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(map_id, BIRTH)
    assert reported.state_dirs(map_id) == []
    for directory in ("/var/lib/b", "/var/lib/a.b", "/var/lib/a.b"):
        reported.mark(map_id, BIRTH + 7, Path(directory))

    assert reported.start_time_ns(map_id) == BIRTH
    assert reported.state_dirs(map_id) == [Path("/var/lib/a.b"), Path("/var/lib/b")]
    assert reported.state_dirs(int(str(map_id)[:-1])) == []
    reported.forget(map_id)
    assert list(pin_root.iterdir()) == []


def test_a_state_directory_named_by_another_user_is_ignored(pin_root):
    """Only what root and our own user created counts, for the links as for the marks."""
    reported.mark(41, BIRTH, Path("/var/lib/ours"))
    (pin_root / "reported-41-by-00000000").symlink_to("/var/lib/theirs")
    os.lchown(pin_root / "reported-41-by-00000000", OTHER, OTHER)

    assert reported.state_dirs(41) == [Path("/var/lib/ours")]


def test_state_directories_are_swept_with_their_map(make_map, pin_root):
    """A program that is reloaded every hour does not accumulate them either."""
    reported.mark(2**31, BIRTH, Path("/var/lib/a"))
    living = bpf.map_info(make_map(uapi.MAP_ARRAY)).id
    reported.mark(living, BIRTH)

    assert [path.name for path in pin_root.iterdir()] == [f"reported-{living}-{BIRTH}"]
