# SPDX-License-Identifier: Apache-2.0
"""Records of many small sources: their forms are written once, and every record is read back exactly."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Baseline, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal_blobs, journal_format
from sidecar.state.journal import Journal
from sidecar.state.journal_blobs import Written
from sidecar.state.record import Batch, Record
from tests.examples import examples
from tests.journals import file_of, record_in

COLUMNS = (Column("packets"), Column("drops", 32, cells=2))


def snapshots_of(number, now, keys=1, map_id=0):
    """What is read of a source: a map whose counters depend on the time."""
    identity = MapIdentity("boot", 100 * number + map_id, 6, 4, 16, 8)
    cells = {key.to_bytes(4, "little"): (now * number + key, now, 2**32 - 1) for key in range(keys)}
    return (Snapshot(identity, 10, now, Reading(COLUMNS, cells)),)


def baseline_after(snapshots):
    (snapshot,) = snapshots
    series = {
        (("network.interface.name", f"veth{snapshot.identity.map_id}"), ("key", key.hex())): StreamState(
            numbers[:2], snapshot.taken_ns
        )
        for key, numbers in snapshot.reading.cells.items()
    }
    fields = ("packets", "drops")
    return Baseline(10, snapshot.taken_ns, {snapshot.identity: snapshot.reading}, fields, series)


def cycle(record, read):
    """The record of the next cycle, in which *read* was read."""
    before = record.after_acknowledgement()
    batch = Batch((b"request",), {name: baseline_after(each) for name, each in read.items()})
    return replace(
        before, sequence=record.sequence + 1, pending=batch, snapshots={**before.snapshots, **read}
    )


def read(now):
    return {f"interface:veth{number}": snapshots_of(number, now) for number in range(100)}


def test_what_stays_is_written_once_for_all_sources():
    """From the second record on, all sources take their numbers alone; the baseline before is in the file."""
    records = [cycle(Record(), read(1))]
    records += [cycle(records[-1], read(2))]
    records += [cycle(records[-1], read(3))]
    written, sizes = Written(), []
    for record in records:
        payload, written = journal_format.encode(record, written)
        sizes.append(sum(map(len, payload)))

    pending, seen = 1 + 3 + 2 + 1, 1 + 3
    assert sizes[0] > 100 * 300
    assert sizes[1] == sizes[2]
    assert sizes[2] - len(payload[1]) < 8 * 100 * (pending + seen) + 100
    assert record_in(file_of(*records)) == (records[-1], False)


def test_the_form_of_a_source_is_made_once(monkeypatch):
    """It is made anew for one that changed, and for no other; also when a new file begins."""
    made = []
    dumps = json.dumps
    monkeypatch.setattr(
        "sidecar.state.journal_small.json.dumps", lambda form, **how: made.append(form) or dumps(form, **how)
    )
    first = cycle(Record(), read(1))
    _, written = journal_format.encode(first)
    made.clear()
    changed = {**read(2), "interface:veth7": snapshots_of(7, 2, keys=2)}
    second = cycle(first, changed)
    journal_format.encode(second, Written(small=written.small))

    names = [form[0] for form in made if isinstance(form, tuple)]
    assert names == ["interface:veth7"] * 2


events = st.lists(
    st.tuples(
        st.sampled_from(["cycle", "retry", "give up", "restart"]),
        st.dictionaries(
            st.integers(0, 6), st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 9)), max_size=7
        ),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("large", [1, 4096])
@given(events)
@examples(60)
def test_any_history_is_read_back_from_its_file(tmp_path_factory, large, history):
    """Whatever sources are read, with whatever keys and maps, and whatever becomes of the batch."""
    directory, record = tmp_path_factory.mktemp("state"), Record()
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_blobs, "LARGE", large)
        opened = stack.enter_context(contextlib.closing(Journal(directory)))
        for what, sources in history:
            now = {
                f"pin:{number}": snapshots_of(number, time, keys, map_id)
                for number, (keys, map_id, time) in sources.items()
            }
            if what == "restart":
                stack.close()
                opened = stack.enter_context(contextlib.closing(Journal(directory)))
                record = opened.load()
            if what == "give up":
                record = record.after_give_up()
            elif what == "retry" and record.pending:
                record = replace(record, snapshots={**record.snapshots, **now})
            else:
                record = cycle(record, now)
            opened.commit(record)

            assert record_in((directory / "journal").read_bytes())[0] == record
