# SPDX-License-Identifier: Apache-2.0
import contextlib
from dataclasses import replace

import pytest

from sidecar.model import Baseline, Column, MapIdentity, Reading, Snapshot
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record
from sidecar.state.retention import Retention

COLUMNS = (Column("packets"),)
NOW = Retention({"pin:/a"}, "this boot", {41, 42})


def identity(map_id, boot="this boot"):
    return MapIdentity(boot, map_id, 6, 4, 8, 1)


def baseline(*maps):
    return Baseline(1, 2, {map_identity: Reading(COLUMNS, {}) for map_identity in maps}, ("packets",))


def snapshot(map_identity):
    return Snapshot(map_identity, 1, 2, Reading(COLUMNS, {bytes(4): (1,)}))


LIVES, ENDED, BEFORE = identity(42), identity(7), identity(42, "another boot")


@pytest.mark.parametrize(
    ("name", "maps", "snapshots", "kept"),
    [
        ("id:7", [ENDED], [ENDED], False),
        ("id:7", [BEFORE], [], False),
        ("id:7", [], [ENDED, BEFORE], False),
        ("pin:/a", [ENDED], [BEFORE], True),
        ("pin:/b", [ENDED, LIVES], [ENDED], True),
        ("pin:/b", [LIVES, ENDED], [], True),
        ("pin:/b", [ENDED], [LIVES], True),
    ],
)
def test_a_source_is_dropped_once_it_is_not_configured_and_its_maps_are_gone(name, maps, snapshots, kept):
    """A living map may be configured again under that name: what was reported of it must be known then."""
    record = Record(
        3,
        {name: baseline(*maps)} if maps else {},
        None,
        {name: tuple(map(snapshot, snapshots))} if snapshots else {},
        accepted=True,
    )
    assert NOW.retain(record) == (record if kept else Record(3, accepted=True))


def test_without_a_list_of_maps_those_of_this_boot_are_kept():
    """Listing takes CAP_SYS_ADMIN: maps that may be alive are kept."""
    unknown = replace(NOW, living=None)
    record = Record(3, {"id:7": baseline(ENDED), "id:8": baseline(BEFORE)})

    assert unknown.retain(record).acknowledged.keys() == {"id:7"}


def test_sources_of_the_pending_batch_are_kept():
    """Also their baselines before it."""
    batch = Batch((b"request",), {"id:7": baseline(ENDED)})
    record = Record(3, {"id:7": baseline(ENDED), "id:8": baseline(ENDED)}, batch)
    retained = NOW.retain(record)

    assert retained.pending is batch
    assert retained.acknowledged.keys() == {"id:7"}


def test_a_journal_does_not_grow_with_each_map_that_is_read_by_id(tmp_path):
    """Each start reads another id, and the map before it is gone: the size of the file stays the same."""
    sizes = []
    for map_id in range(100, 150):
        name = f"id:{map_id}"
        with contextlib.closing(Journal(tmp_path)) as journal:
            journal.retain = Retention({name}, "this boot", {map_id}).retain
            record = journal.load()
            acknowledged = {**record.acknowledged, name: baseline(identity(map_id))}
            sizes.append(journal.commit(replace(record, acknowledged=acknowledged)))

    assert sizes[-1] < 1.1 * sizes[1]
