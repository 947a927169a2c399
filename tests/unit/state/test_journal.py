# SPDX-License-Identifier: Apache-2.0
import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import StateError
from sidecar.model import Baseline, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal as journal_module
from sidecar.state import journal_format
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record

ROOT = Path(__file__).parents[3]
IDENTITY = MapIdentity("3f0c-boot", 41, 6, 4, 64, 1)
COLUMNS = (Column("packets"), Column("bytes"))
FIELDS = ("packets", "bytes")
SERIES = (("network.interface.name", "eth0"), ("cpu", 3), ("otel.metric.overflow", True))


def reading(*cells):
    return Reading(COLUMNS, {bytes(4): cells})


BASELINE = Baseline(
    10, 1000, {IDENTITY: reading(1, 2**64 - 1)}, FIELDS, {SERIES: StreamState((4, 2**64 - 1), 1000)}
)
NEXT = Baseline(10, 2000, {IDENTITY: reading(5, 7)}, FIELDS, {SERIES: StreamState((8, 6), 2000)})
SETTLED = Record(6, {"interface:eth0": BASELINE}, accepted=True)
PENDING = replace(
    SETTLED,
    sequence=7,
    pending=Batch((b"first request", b"", b"third"), {"interface:eth0": NEXT, "pin:/sys/fs/bpf/m": BASELINE}),
    snapshots={"interface:eth0": (Snapshot(IDENTITY, 10, 3000, reading(6, 8)),)},
)
ACKNOWLEDGED = replace(PENDING, acknowledged=PENDING.pending.baselines, pending=None)


@pytest.fixture
def journal(state_dir):
    """A journal that is open."""
    with contextlib.closing(Journal(state_dir)) as opened:
        yield opened


def encoded(record):
    """The bytes of a record's file."""
    return b"".join(journal_format.encode(record))


def reopened(directory):
    """What the next process would load."""
    with contextlib.closing(Journal(directory)) as opened:
        return opened.load()


counters = st.integers(0, 2**64 - 1)
times = st.integers(0, 2**63 - 1)
ids = st.integers(0, 2**32 - 1)
columns = st.lists(
    st.builds(Column, st.text(), st.integers(1, 64), st.booleans(), st.booleans(), st.integers(1, 3)),
    min_size=1,
    max_size=3,
).map(tuple)


def identities(size):
    return st.builds(MapIdentity, st.text(), ids, ids, st.just(size), ids, ids)


@st.composite
def readings(draw, size):
    of = draw(columns)
    cells = st.tuples(*[counters] * sum(one.cells for one in of))
    return Reading(of, draw(st.dictionaries(st.binary(min_size=size, max_size=size), cells, max_size=4)))


sizes = st.integers(1, 9)
values = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()
attributes = st.lists(st.tuples(st.text(), values), max_size=3).map(tuple)


@st.composite
def baselines_(draw):
    fields = draw(st.lists(st.text(), min_size=1, max_size=3).map(tuple))
    accounts = st.builds(StreamState, st.tuples(*[counters] * len(fields)), times)
    size = draw(sizes)
    return Baseline(
        draw(times),
        draw(times),
        draw(st.dictionaries(identities(size), readings(size), min_size=1, max_size=2)),
        fields,
        draw(st.dictionaries(attributes, accounts, max_size=3)),
    )


@st.composite
def snapshots_(draw):
    size = draw(sizes)
    return Snapshot(draw(identities(size)), draw(times), draw(times), draw(readings(size)))


names = st.text(st.characters())  # surrogates too: a path need not be UTF-8
baselines = st.dictionaries(names, baselines_(), max_size=3)
batches = st.builds(Batch, st.lists(st.binary()).map(tuple), baselines)
snapshots = st.lists(snapshots_(), max_size=3).map(tuple)
records = st.builds(
    Record,
    counters,
    baselines,
    st.none() | batches,
    st.dictionaries(names, snapshots, max_size=3),
    st.booleans(),
)


@given(records)
@settings(max_examples=60)
def test_any_record_comes_back_as_it_was(record):
    """Encoding loses nothing; the mark says that it is acknowledged, and changes nothing else."""
    data = encoded(record)

    assert journal_format.decode(data) == (record, False)
    assert journal_format.decode(marked(data)) == (record, True)


def marked(data):
    mark, at = journal_format.mark(data), journal_format.MARK_AT
    return data[:at] + mark + data[at + len(mark) :]


def test_a_mark_acknowledges_one_record_only():
    """The mark of another record in the same place is none."""
    other = journal_format.mark(encoded(SETTLED))
    data = bytearray(encoded(PENDING))
    data[journal_format.MARK_AT : journal_format.MARK_AT + len(other)] = other

    assert journal_format.decode(bytes(data)) == (PENDING, False)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_every_flipped_bit_is_noticed(acknowledged):
    """Damage is refused; in the mark it can only take the acknowledgement back."""
    good = encoded(PENDING)
    good = marked(good) if acknowledged else good
    mark = range(journal_format.MARK_AT, journal_format.MARK_AT + len(journal_format.mark(good)))
    for at in range(len(good)):
        for bit in range(8):
            data = bytearray(good)
            data[at] ^= 1 << bit
            if at in mark:
                assert journal_format.decode(bytes(data)) == (PENDING, False)
            else:
                with pytest.raises(ValueError, match=r"journal|checksum"):
                    journal_format.decode(bytes(data))


@pytest.mark.parametrize("acknowledged", [False, True])
def test_every_truncation_and_every_addition_is_noticed(acknowledged):
    """A file of another length is damaged, whatever the length."""
    good = encoded(PENDING)
    good = marked(good) if acknowledged else good
    for data in [*(good[:length] for length in range(len(good))), good + b"\0", good * 2]:
        with pytest.raises(ValueError, match=r"journal|checksum"):
            journal_format.decode(data)


def test_a_first_start_finds_an_empty_record(journal, state_dir):
    """No file is no damage; the directory is made, for nobody else to look into."""
    assert journal.load() == Record()
    assert state_dir.stat().st_mode & 0o777 == 0o700


def test_the_directories_above_are_made(tmp_path):
    """A state directory need not exist, nor what it lies in."""
    assert reopened(tmp_path / "a" / "b" / "c") == Record()


@pytest.mark.parametrize("record", [SETTLED, PENDING])
def test_a_committed_record_is_loaded_by_the_next_process(state_dir, record):
    """What was written is what is read."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(record)

    assert reopened(state_dir) == record


def test_an_acknowledgement_survives_reopening(state_dir):
    """The batch is gone, and the baselines have moved to where it led, those of other sources kept."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(replace(PENDING, acknowledged={"interface:eth1": BASELINE}))
        journal.acknowledge()
    loaded = reopened(state_dir)

    assert loaded.pending is None
    assert loaded.acknowledged == {"interface:eth1": BASELINE, **PENDING.pending.baselines}


def test_an_acknowledgement_does_not_outlive_the_next_commit(journal):
    """A new batch begins unacknowledged, also if it has the same bytes."""
    journal.commit(PENDING)
    journal.acknowledge()
    acknowledged = journal.load()
    journal.commit(PENDING)

    assert (acknowledged, journal.load()) == (ACKNOWLEDGED, PENDING)


def test_a_loaded_batch_can_be_acknowledged(state_dir):
    """The batch of an earlier process is marked like one of our own."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(PENDING)
    with contextlib.closing(Journal(state_dir)) as following:
        following.load()
        following.acknowledge()

        assert following.load() == ACKNOWLEDGED


@pytest.mark.parametrize(
    "data", [b"", b"XDPOTEL1", b"XDPOTEL3" + bytes(100), encoded(PENDING)[:-1], b"\xff" * 5000]
)
def test_a_damaged_file_is_kept_aside(journal, state_dir, data, caplog):
    """The error is logged with both names, the start is an empty one, and the file can be looked at."""
    path, aside = state_dir / "journal", state_dir / "journal.damaged"
    path.write_bytes(data)
    loaded = journal.load()

    assert loaded == Record()
    assert aside.read_bytes() == data
    assert not path.exists()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.messages[0].startswith(f"cannot read journal {path}: damaged (")
    assert str(aside) in caplog.messages[0]


def test_a_journal_goes_on_after_damage(journal, state_dir):
    """A damaged file stands in nobody's way."""
    (state_dir / "journal").write_bytes(b"?")
    journal.load()
    journal.commit(PENDING)

    assert journal.load() == PENDING


def test_what_a_crash_left_half_written_is_ignored(journal, state_dir):
    """The temporary file of a process that died is no record, and is written over."""
    journal.commit(SETTLED)
    (state_dir / "journal.new").write_bytes(encoded(PENDING)[:50])

    assert journal.load() == SETTLED
    journal.commit(PENDING)
    assert journal.load() == PENDING
    assert sorted(path.name for path in state_dir.iterdir()) == ["journal"]


@contextlib.contextmanager
def full_disk(limit):
    """Let no file grow past a limit, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_fails_half_way_leaves_the_old_record(journal, state_dir):
    """The kernel takes some of the bytes and refuses the rest: the record holds, the rest is cleaned up."""
    journal.commit(SETTLED)
    with (
        full_disk(600),
        pytest.raises(
            StateError,
            match=rf"^cannot write journal {state_dir}/journal: EFBIG \(.*\): make it a .*--state-dir$",
        ),
    ):
        journal.commit(PENDING)

    assert journal.load() == SETTLED
    assert not (state_dir / "journal.new").exists()
    journal.commit(PENDING)
    assert journal.load() == PENDING


def test_a_commit_that_failed_does_not_change_what_is_acknowledged(journal):
    """The mark that is written next is that of the record on disk."""
    journal.commit(PENDING)
    with full_disk(600), contextlib.suppress(StateError):
        journal.commit(replace(PENDING, sequence=8))
    journal.acknowledge()

    assert journal.load() == ACKNOWLEDGED


def test_a_directory_that_was_removed_is_made_again_by_the_next_commit(journal, state_dir, caplog):
    """What is acknowledged meanwhile cannot be marked; the next record is durable, in a directory of ours."""
    journal.commit(SETTLED)
    shutil.rmtree(state_dir)
    with pytest.raises(
        StateError, match=r"^cannot write journal .*: ENOENT \(No such file or directory\): make it"
    ):
        journal.acknowledge()
    journal.commit(PENDING)
    journal.acknowledge()

    assert journal.load() == ACKNOWLEDGED
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert caplog.messages == [f"state directory {state_dir} was removed: recreated"]
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        Journal(state_dir)


def test_a_directory_that_another_sidecar_made_again_is_its_own(journal, state_dir):
    """The first one writes nothing there, so it sends nothing; once the other has ended it goes on."""
    journal.commit(SETTLED)
    shutil.rmtree(state_dir)
    with contextlib.closing(Journal(state_dir)) as other:
        for _ in range(2):
            with pytest.raises(StateError, match=r"^cannot lock state directory .*: in use by process"):
                journal.commit(PENDING)
        other.commit(SETTLED)
        assert other.load() == SETTLED
    journal.commit(PENDING)

    assert journal.load() == PENDING


def test_nothing_in_the_directory_can_be_removed_to_get_at_the_lock(journal, state_dir):
    """It is the directory's own."""
    journal.commit(SETTLED)
    for path in state_dir.iterdir():
        path.unlink()
    with pytest.raises(StateError, match="in use by"):
        Journal(state_dir)


def test_a_directory_may_be_reached_by_a_link(tmp_path):
    """As that of a service with a dynamic user is; both paths are one directory, with one lock."""
    (tmp_path / "private").mkdir()
    (tmp_path / "public").symlink_to("private")
    with contextlib.closing(Journal(tmp_path / "public")) as journal:
        journal.commit(PENDING)
        with pytest.raises(StateError, match="in use by"):
            Journal(tmp_path / "private")

    assert reopened(tmp_path / "private") == PENDING


def planted_link(path):
    (path.parent.parent / "elsewhere").write_bytes(encoded(PENDING))
    path.symlink_to("../elsewhere")


@pytest.mark.parametrize("name", ["journal", "journal.new"])
@pytest.mark.parametrize("plant", [planted_link, os.mkfifo], ids=lambda plant: plant.__name__)
@pytest.mark.timeout(20)
def test_what_is_no_file_of_ours_is_neither_followed_nor_waited_for(state_dir, name, plant, caplog):
    """In a directory that others may write to: it is set aside, or written over, and what it led to stays."""
    state_dir.mkdir()
    plant(state_dir / name)
    with contextlib.closing(Journal(state_dir)) as journal:
        assert journal.load() == Record()
        journal.commit(SETTLED)
        assert journal.load() == SETTLED
    assert [path.read_bytes() for path in state_dir.parent.glob("elsewhere")] in ([], [encoded(PENDING)])
    assert len(caplog.messages) == (name == "journal")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_journal_of_somebody_else_is_not_believed(journal, state_dir, caplog):
    """Unless the directory is his."""
    journal.commit(PENDING)
    os.chown(state_dir / "journal", 12345, 12345)
    os.chown(state_dir, 12345, 12345)
    assert journal.load() == PENDING
    os.chown(state_dir, 0, 0)

    assert journal.load() == Record()
    assert "damaged (it belongs to user 12345): kept as" in caplog.text


def test_a_journal_larger_than_any_is_damaged(journal, state_dir, caplog):
    """And costs no memory."""
    (state_dir / "journal").write_bytes(b"XDPOTEL3")
    os.truncate(state_dir / "journal", 1 << 40)

    assert journal.load() == Record()
    assert "bytes are more than it can have" in caplog.text


def test_no_journal_is_written_that_could_not_be_read(journal, monkeypatch):
    """What is larger than any may be stays unsent."""
    journal.commit(SETTLED)
    monkeypatch.setattr(journal_module, "LARGEST_BYTES", 500)
    with pytest.raises(
        StateError,
        match=r"^cannot write journal .*: its [0-9,]+ bytes exceed the limit of 500: lower --series-limit$",
    ):
        journal.commit(PENDING)
    monkeypatch.undo()

    assert journal.load() == SETTLED


def test_a_journal_that_is_a_directory_is_set_aside(journal, state_dir):
    """It stands in nobody's way."""
    (state_dir / "journal").mkdir()
    assert journal.load() == Record()
    journal.commit(PENDING)

    assert journal.load() == PENDING


@pytest.mark.parametrize("below", ["", "state"])
def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path, below):
    """One line, with the remedy."""
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / below
    with pytest.raises(
        StateError, match=rf"^cannot open state directory {directory}: (EEXIST|ENOTDIR) .*--state-dir$"
    ):
        Journal(directory)


@pytest.fixture
def at_each_flush(state_dir, monkeypatch):
    """Call a function with the path of each file of the journal that is flushed, before it is."""
    fsync = os.fsync

    def watch(function):
        def flush(fd):
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if path.is_relative_to(state_dir):
                function(path)
            fsync(fd)

        monkeypatch.setattr(os, "fsync", flush)

    return watch


def test_before_a_record_is_seen_it_is_on_disk(journal, state_dir, at_each_flush):
    """Written, flushed, renamed, and the directory flushed: at each flush everything before it is there."""
    journal.commit(SETTLED)
    seen = []

    def look(flushed):
        seen.append((flushed, {path.name: path.read_bytes() for path in state_dir.iterdir()}))

    at_each_flush(look)
    journal.commit(PENDING)
    old, new = encoded(SETTLED), encoded(PENDING)

    assert seen == [
        (state_dir / "journal.new", {"journal": old, "journal.new": new}),
        (state_dir, {"journal": new}),
    ]


@given(st.lists(st.binary(max_size=9), max_size=12))
def test_small_parts_are_written_together(parts):
    """And large ones as they are; all of them, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "_WRITE_BYTES", 8)
        written = list(journal_module._coalesced(parts))

    assert b"".join(written) == b"".join(parts)
    assert all(len(one) <= 8 or one in parts for one in written)


@pytest.mark.parametrize("failing", ["journal.new", "state"])
def test_a_flush_that_fails_is_an_error(journal, at_each_flush, failing):
    """A record whose flush failed may not be sent, be it that of the file or that of the directory."""

    def fail(flushed):
        if flushed.name == failing:
            raise OSError(errno.EIO, "Input/output error")

    journal.commit(SETTLED)
    at_each_flush(fail)
    with pytest.raises(StateError, match=r"^cannot write journal .*: EIO \(Input/output error\): "):
        journal.commit(PENDING)

    at_each_flush(lambda _flushed: None)
    assert journal.load() in (SETTLED, PENDING)


HOLDER = """
import sys
from pathlib import Path
from sidecar.state.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def started(program, *arguments):
    """A process of its own, which has said its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    process.stdout.readline()
    return process


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_second_process_is_refused_and_told_who_is_there(state_dir):
    """One writer a directory; the lock goes with the process, however it ends."""
    holder = started(HOLDER, state_dir)
    try:
        with pytest.raises(
            StateError,
            match=rf"^cannot lock state directory {state_dir}: in use by process {holder.pid}: stop that",
        ):
            Journal(state_dir)
    finally:
        killed(holder)

    assert reopened(state_dir) == Record()


def test_a_refused_second_journal_takes_nothing_from_the_first(journal, state_dir):
    """Neither the lock nor the name in it; closing ends the lock."""
    for _ in range(2):
        with pytest.raises(StateError, match=f"in use by process {os.getpid()}: "):
            Journal(state_dir)
    journal.commit(PENDING)

    assert journal.load() == PENDING


WRITER = """
import sys
from itertools import count
from pathlib import Path
from sidecar.state.journal import Journal
from sidecar.state.record import Batch, Record
journal = Journal(Path(sys.argv[1]))
for number in count(journal.load().sequence + 1):
    journal.commit(Record(number, {}, Batch((b"%d" % number * 10_000,), {})))
    print(number, flush=True)
    if number % 2 == 0:
        journal.acknowledge()
"""


def test_a_process_killed_at_any_moment_leaves_a_good_record(state_dir):
    """SIGKILL again and again in the middle of writing: never damage, never an older record than the last."""
    for delay_s in (0, 0.003, 0.011, 0.026, 0.05):
        writer = started(WRITER, state_dir)
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        printed = writer.communicate()[0].split()
        record = reopened(state_dir)

        assert not (state_dir / "journal.damaged").exists()
        assert record.sequence >= max([1, *map(int, printed)])
        if record.pending:
            assert record.pending.requests == (b"%d" % record.sequence * 10_000,)
        else:
            assert record.sequence % 2 == 0


OLD = Path(__file__).with_name("journals")
EITHER = (("network.interface.name", "eth0"), ("cpu", 1)), (("ok", True),)


def test_a_journal_of_the_version_before_is_read():
    """Its batch is sent as it is, and the accounts go on; the file was written by that version's code."""
    record, acknowledged = journal_format.decode((OLD / "XDPOTEL3-pending").read_bytes())
    baseline = record.pending.baselines["pin:a"]

    assert not acknowledged
    assert (record.sequence, record.accepted, record.pending.requests) == (3, True, (b"one", b"two"))
    assert record.acknowledged["pin:a"].streams == {
        EITHER[0]: StreamState((5, 3), 1000),
        EITHER[1]: StreamState((2**64 - 1, 0), 1000),
    }
    assert baseline.streams[EITHER[1]] == StreamState((2**64 - 1, 4), 2000)
    assert baseline.maps[baseline.identity].cells[bytes(4)] == (9, 1, 2)


def test_a_journal_in_columns_of_the_version_before_is_read():
    """Large maps, too; and the mark of an acknowledgement holds."""
    record, acknowledged = journal_format.decode((OLD / "XDPOTEL3-in-columns").read_bytes())

    assert acknowledged
    assert dict(record.acknowledged["pin:a"].streams) == {
        EITHER[0]: StreamState((9, 3), 2000),
        EITHER[1]: StreamState((2**64 - 1, 4), 2000),
    }
