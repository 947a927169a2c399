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
    return Baseline(1, 2, {one: Reading(COLUMNS, {}) for one in maps}, ("packets",))


def snapshot(one):
    return Snapshot(one, 1, 2, Reading(COLUMNS, {bytes(4): (1,)}))


LIVES, ENDED, BEFORE = identity(42), identity(7), identity(42, "another boot")


@pytest.mark.parametrize(
    ("name", "maps", "seen", "stays"),
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
def test_a_source_is_forgotten_once_nobody_asks_for_it_and_no_map_of_it_lives(name, maps, seen, stays):
    """A map that lives may be read again under that name: what was reported of it must be known then."""
    record = Record(
        3,
        {name: baseline(*maps)} if maps else {},
        None,
        {name: tuple(map(snapshot, seen))} if seen else {},
        accepted=True,
    )
    assert NOW.retain(record) == (record if stays else Record(3, accepted=True))


def test_where_no_map_can_be_looked_up_those_of_this_boot_stay():
    """That takes CAP_SYS_ADMIN: what may live is kept."""
    unknown = replace(NOW, living=None)
    record = Record(3, {"id:7": baseline(ENDED), "id:8": baseline(BEFORE)})

    assert unknown.retain(record).acknowledged.keys() == {"id:7"}


def test_the_batch_under_way_is_never_touched():
    """Nor where its sources stood before it, to which a refusal would lead back."""
    batch = Batch((b"request",), {"id:7": baseline(ENDED)})
    record = Record(3, {"id:7": baseline(ENDED), "id:8": baseline(ENDED)}, batch)
    kept = NOW.retain(record)

    assert kept.pending is batch
    assert kept.acknowledged.keys() == {"id:7"}


def test_a_journal_no_longer_grows_by_each_map_that_is_read_by_its_id(tmp_path):
    """Each start reads another id, the map before it having ended: the file stays as large as it is."""
    sizes = []
    for map_id in range(100, 150):
        name, one = f"id:{map_id}", identity(map_id)
        with contextlib.closing(Journal(tmp_path)) as journal:
            journal.retain = Retention({name}, "this boot", {map_id}).retain
            record = journal.load()
            held = {name: baseline(one)}
            sizes.append(journal.commit(replace(record, acknowledged={**record.acknowledged, **held})))

    assert sizes[-1] < 1.1 * sizes[1]
