# SPDX-License-Identifier: Apache-2.0
"""Records of large maps: what changes little is written as what changed, and read back exactly."""

import contextlib
import struct
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import EncodedAttributes, StreamTable, Table, packed
from sidecar.model import Baseline, Column, MapIdentity, Reading, Snapshot
from sidecar.state import journal, journal_blobs, journal_file, journal_format
from sidecar.state.journal import Journal
from sidecar.state.journal_blobs import FileBlobs, Written, changed, difference
from sidecar.state.journal_log import BLOCK
from sidecar.state.record import Batch, Record
from tests.journals import file_of, record_in

IDENTITY = MapIdentity("boot-1", 41, 5, 4, 16, 100_000)
COLUMNS = (Column("packets"), Column("bytes"))
KEYS = 200
NAMES = EncodedAttributes.of(encode_attributes((("key", number),)) for number in range(KEYS))


def baseline(cells, keys=None, ends=None):
    """A baseline of a large map; *cells* are the numbers of its two columns."""
    keys = range(KEYS) if keys is None else keys
    table = Table(b"".join(struct.pack("=I", key) for key in keys), 4, packed(cells))
    streams = StreamTable(NAMES, 2, packed(cells), packed(ends or [7] * KEYS))
    return Baseline(1, 2, {IDENTITY: Reading(COLUMNS, table)}, ("packets", "bytes"), streams)


def cycle(record, after):
    """The record of the next cycle, whose batch leads to the baseline *after*."""
    acknowledged = record.after_acknowledgement()
    reading = next(iter(after.maps.values()))
    return replace(
        acknowledged,
        sequence=record.sequence + 1,
        pending=Batch((b"request %d" % record.sequence * 50,), {"a": after}),
        snapshots={"a": (Snapshot(IDENTITY, 1, 2, reading),)},
    )


@pytest.fixture(autouse=True)
def _in_columns(monkeypatch):
    monkeypatch.setattr(journal_format, "COLUMNAR_FROM", 0)
    monkeypatch.setattr(journal_blobs, "LARGE", 256)
    monkeypatch.setattr(journal, "FILE_BYTES", 4 * BLOCK)


def size_of(record, written):
    payload, written = journal_format.encode(record, written)
    return sum(map(len, payload)), written


def test_a_record_has_the_size_of_what_changed():
    """The baseline before it, the keys and the names are in the file; of the counters only some changed."""
    cells = list(range(2 * KEYS))
    first = cycle(Record(), baseline(cells))
    whole, written = size_of(first, Written())
    cells[5] += 1
    second = cycle(first, baseline(cells))
    size, written = size_of(second, written)
    cells = [cell + 1 for cell in cells]
    third = cycle(second, baseline(cells))
    all_changed, _ = size_of(third, written)

    numbers = 8 * 2 * KEYS
    assert whole > 1.5 * numbers
    assert size < 2500 < numbers
    assert all_changed < 2 * numbers + 2500
    assert record_in(file_of(first, second, third)) == (third, False)


changes = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.sets(st.integers(0, 2 * KEYS - 1), max_size=40)),
        st.tuples(st.just("all"), st.just(())),
        st.tuples(st.just("nothing"), st.just(())),
        st.tuples(st.just("keys"), st.integers(1, KEYS - 1)),
        st.tuples(st.just("retry"), st.just(())),
        st.tuples(st.just("restart"), st.just(())),
    ),
    min_size=1,
    max_size=8,
)


@given(changes)
@settings(max_examples=40, deadline=None)
def test_any_history_is_read_back_from_its_file(tmp_path_factory, history):
    """Whatever changed from one record to the next; also with the tables of the process before."""
    directory = tmp_path_factory.mktemp("state")
    cells, keys, record = list(range(2 * KEYS)), list(range(KEYS)), Record()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(Journal(directory)))
        for what, which in history:
            if what == "count":
                for at in which:
                    cells[at] = (cells[at] * 3 + 2**63) % 2**64
            elif what == "all":
                cells = [cell ^ 1 for cell in cells]
            elif what == "keys":
                keys = keys[which:] + keys[:which]
            elif what == "restart":
                stack.close()
                opened = stack.enter_context(contextlib.closing(Journal(directory)))
                record = opened.load()
            after = baseline(cells, keys)
            if what == "retry" and record.pending:
                record = replace(
                    record, snapshots={"a": (Snapshot(IDENTITY, 1, 9, next(iter(after.maps.values()))),)}
                )
            else:
                record = cycle(record, after)
            opened.commit(record)

            loaded = record_in((directory / "journal").read_bytes())[0]
            assert loaded == record


def test_a_file_of_many_sources_has_several_records(state_dir):
    """A record that would fill most of a file, as of 200 interfaces, does not take a new one each time."""
    requests = Batch((bytes(journal.FILE_BYTES * 3 // 4),), {})
    with contextlib.closing(Journal(state_dir)) as opened:
        for sequence in range(15):
            opened.commit(Record(sequence, {}, requests))
            if sequence == 0:
                first = (state_dir / "journal").stat().st_ino
        assert (state_dir / "journal").stat().st_ino == first
        assert opened.load() == Record(14, {}, requests)


def test_a_file_grows_to_twice_its_first_record_and_is_then_replaced(state_dir, monkeypatch):
    """So neither its size nor the time to read it depends on how long the sidecar has run."""
    monkeypatch.setattr(journal_file, "GROWS_TO", 0)  # as if the records were larger than that
    cells, record, sizes = list(range(2 * KEYS)), Record(), []
    with contextlib.closing(Journal(state_dir)) as opened:
        for _ in range(60):
            for at in range(0, 2 * KEYS, 3):
                cells[at] += 1
            record = cycle(record, baseline(cells))
            sizes.append(opened.commit(record))

        assert opened.load() == record
    complete = sum(map(len, journal_format.encode(record)[0])) + 2 * BLOCK
    assert 4 * BLOCK < max(sizes) <= 2 * complete
    assert sizes.index(max(sizes)) < len(sizes) - 1


def test_what_was_read_is_the_base_of_nothing(state_dir):
    """The first record of a process is complete: it does not rest on what another process wrote."""
    first = cycle(Record(), baseline(list(range(2 * KEYS))))
    with contextlib.closing(Journal(state_dir)) as opened:
        opened.commit(first)
    with contextlib.closing(Journal(state_dir)) as opened:
        second = cycle(opened.load(), baseline(list(range(1, 2 * KEYS + 1))))
        opened.commit(second)

    data = (state_dir / "journal").read_bytes()
    assert data == file_of(second, size=len(data))


words = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30)


@given(words, st.data())
def test_a_change_makes_the_one_of_the_other(before, data):
    """Any number of words; several changes one after the other."""
    others = [
        [data.draw(st.sampled_from([word, word ^ 1, 0])) for word in before]
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    versions = [packed(before), *map(packed, others)]
    steps = [memoryview(difference(was, now, 1000)) for was, now in pairwise(versions)]

    assert changed(versions[0], steps) == versions[-1]
    assert [not step for step in steps] == [was == now for was, now in pairwise(versions)]


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ([-1], b""),
        ([True], b"x"),
        ([1.0], b"x"),
        ([2], b"x"),
        ([1], b"xy"),
        ([[0]], b""),
        ([8, [1]], bytes(8)),
        ([8, [-1]], bytes(8)),
        ([8, [True]], bytes(8)),
        ([8, []], bytes(8)),
        ([8, [0, 0, 0]], bytes(8)),
        ([8, [0, -1]], bytes(8)),
        ([8, [0, None]], bytes(8)),
        ([8, [None, 8]], bytes(16)),
        ([8, {}], bytes(8)),
        ([8, None], bytes(8)),
        ([8, [0, 11]], bytes(19)),
        ([7, [0, 12]], bytes(19)),
        ([8, [0, 12]], bytes(8) + struct.pack("=IQ", 1, 5)),
        ([0, [0, 12]], struct.pack("=IQ", 0, 5)),
    ],
)
def test_malformed_blobs_are_refused(entries, data):
    """No number of a blob that is not there, no size that does not fit, no position beyond the end."""
    file = FileBlobs()
    with pytest.raises(ValueError, match="malformed journal"):
        [file[number] for number in file.take(entries, memoryview(data))]
