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
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import StateError
from sidecar.model import Baseline, Column, MapIdentity, Reading, Snapshot, StreamState
from sidecar.state import journal as journal_module
from sidecar.state import journal_format, journal_log
from sidecar.state.journal import Journal
from sidecar.state.journal_log import BLOCK
from sidecar.state.record import Batch, Record
from tests.journals import file_of, marked, record_in

ROOT = Path(__file__).parents[3]
JOURNALS = Path(__file__).with_name("journals")
SECTOR = 512
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
COMPLETED = Record(6, {"interface:eth0": BASELINE}, accepted=True)
PENDING = replace(
    COMPLETED,
    sequence=7,
    pending=Batch((b"first request", b"", b"third"), {"interface:eth0": NEXT, "pin:/sys/fs/bpf/m": BASELINE}),
    snapshots={"interface:eth0": (Snapshot(IDENTITY, 10, 3000, reading(6, 8)),)},
)
ACKNOWLEDGED = replace(PENDING, acknowledged=PENDING.pending.baselines, pending=None)


@pytest.fixture
def journal(state_dir):
    """An open journal."""
    with contextlib.closing(Journal(state_dir)) as opened:
        yield opened


def reopened(directory):
    """The record that the next process loads."""
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
    drawn = draw(columns)
    cells = st.tuples(*[counters] * sum(column.cells for column in drawn))
    return Reading(drawn, draw(st.dictionaries(st.binary(min_size=size, max_size=size), cells, max_size=4)))


sizes = st.integers(1, 9)
values = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()
attributes = st.lists(st.tuples(st.text(), values), max_size=3).map(tuple)


@st.composite
def a_baseline(draw):
    fields = draw(st.lists(st.text(), min_size=1, max_size=3).map(tuple))
    streams = st.builds(StreamState, st.tuples(*[counters] * len(fields)), times)
    size = draw(sizes)
    return Baseline(
        draw(times),
        draw(times),
        draw(st.dictionaries(identities(size), readings(size), min_size=1, max_size=2)),
        fields,
        draw(st.dictionaries(attributes, streams, max_size=3)),
    )


@st.composite
def a_snapshot(draw):
    size = draw(sizes)
    return Snapshot(draw(identities(size)), draw(times), draw(times), draw(readings(size)))


names = st.text(st.characters())  # surrogates too: a path need not be UTF-8
baselines = st.dictionaries(names, a_baseline(), max_size=3)
batches = st.builds(Batch, st.lists(st.binary()).map(tuple), baselines)
snapshots = st.lists(a_snapshot(), max_size=3).map(tuple)
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
def test_any_record_survives_encoding_and_decoding(record):
    """Encoding loses nothing; the mark acknowledges the record and changes nothing else."""
    data = file_of(record)

    assert record_in(data) == (record, False)
    assert record_in(marked(data)) == (record, True)


def test_a_mark_acknowledges_only_its_own_record():
    """The mark of the record before it does not."""
    data = marked(file_of(COMPLETED))
    data += file_of(COMPLETED, PENDING)[len(data) :]

    assert record_in(data) == (PENDING, False)


def test_a_mark_without_its_record_is_damage():
    """An acknowledged batch would be counted again."""
    data = marked(file_of(COMPLETED, PENDING))
    at = BLOCK + data[BLOCK:].index(b"third")

    with pytest.raises(ValueError, match=r"checksum|acknowledged"):
        record_in(data[:at] + bytes(2000) + data[at + 2000 :])


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("records", [(PENDING,), (COMPLETED, PENDING)])
def test_every_flipped_bit_is_detected(records, acknowledged):
    """Damage is refused; in the mark it revokes the acknowledgement, between the records it does nothing."""
    good = file_of(*records, size=4 * BLOCK)
    good = marked(good) if acknowledged else good
    harmless = 0
    for at in (at for at in range(len(good)) if good[at] or at % 97 == 0):
        for bit in range(8):
            data = bytearray(good)
            data[at] ^= 1 << bit
            try:
                record, is_acknowledged = record_in(bytes(data))
            except ValueError:
                continue
            harmless += 1
            assert record == PENDING
            assert is_acknowledged == acknowledged or at < BLOCK
    assert harmless


@pytest.mark.parametrize("acknowledged", [False, True])
def test_every_change_of_length_is_detected(acknowledged):
    """A file that was cut short is damaged, whatever was cut off."""
    good = file_of(COMPLETED, PENDING, size=4 * BLOCK)
    good = marked(good) if acknowledged else good
    for data in (good[:length] for length in range(0, len(good), 7)):
        with pytest.raises(ValueError, match=r"journal|checksum"):
            record_in(data)


@given(st.integers(0, 2**16 - 1))
def test_a_record_that_was_interrupted_is_ignored(which):
    """Any of its sectors may be on the disk, in any order: it was not sent."""
    large = replace(PENDING, pending=replace(PENDING.pending, requests=(b"?" * 5000,)))
    before = file_of(COMPLETED, size=8 * BLOCK)
    after = file_of(COMPLETED, large, size=8 * BLOCK)
    torn, written = bytearray(before), []
    for number, at in enumerate(range(2 * BLOCK, 4 * BLOCK, SECTOR)):
        if which & 1 << number:
            torn[at : at + SECTOR] = after[at : at + SECTOR]
        elif any(after[at : at + SECTOR]):
            written.append(at)

    assert record_in(bytes(torn)) == (COMPLETED if written else large, False)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_file_of_an_earlier_release_that_is_damaged_is_refused(acknowledged):
    """Any bit outside of the mark."""
    good = (JOURNALS / "XDPOTEL4-pending").read_bytes()
    for at in (*range(8), *range(16, len(good))):
        data = bytearray(good)
        data[at] ^= 4
        with pytest.raises(ValueError, match=r"journal|checksum"):
            record_in(bytes(data))


def test_the_first_start_loads_an_empty_record(journal, state_dir):
    """A missing file is not damage; the directory is created with mode 0700."""
    assert journal.load() == Record()
    assert state_dir.stat().st_mode & 0o777 == 0o700


def test_missing_parent_directories_are_created(tmp_path):
    """Neither the state directory nor its parents need to exist."""
    assert reopened(tmp_path / "a" / "b" / "c") == Record()


@pytest.mark.parametrize("record", [COMPLETED, PENDING])
def test_a_committed_record_is_loaded_by_the_next_process(state_dir, record):
    """What was written is read back."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(record)

    assert reopened(state_dir) == record


def test_loading_takes_little_more_memory_than_the_file_and_the_record(state_dir):
    """The next process reads a large batch into the file, the record, and half as much again."""
    size = 8 << 20
    record = replace(PENDING, pending=replace(PENDING.pending, requests=(os.urandom(size),)))
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(record)
    tracemalloc.start()
    try:
        assert reopened(state_dir) == record
        assert tracemalloc.get_traced_memory()[1] < 2.5 * size
    finally:
        tracemalloc.stop()


def test_an_acknowledgement_survives_a_restart(state_dir):
    """The batch is gone, its baselines hold, and those of other sources are kept."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(replace(PENDING, acknowledged={"interface:eth1": BASELINE}))
        journal.acknowledge()
    loaded = reopened(state_dir)

    assert loaded.pending is None
    assert loaded.acknowledged == {"interface:eth1": BASELINE, **PENDING.pending.baselines}


def test_an_acknowledgement_does_not_outlive_the_next_commit(journal):
    """A new batch starts unacknowledged, even with the same bytes."""
    journal.commit(PENDING)
    journal.acknowledge()
    acknowledged = journal.load()
    journal.commit(PENDING)

    assert (acknowledged, journal.load()) == (ACKNOWLEDGED, PENDING)


def test_a_loaded_batch_can_be_acknowledged(state_dir):
    """The batch of an earlier process can be marked too."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(PENDING)
    with contextlib.closing(Journal(state_dir)) as following:
        following.load()
        following.acknowledge()

        assert following.load() == ACKNOWLEDGED


@pytest.mark.parametrize(
    "data", [b"", b"XDPOTEL1", b"XDPOTEL3" + bytes(100), file_of(PENDING)[:-1], b"\xff" * 5000]
)
def test_a_damaged_journal_is_renamed(journal, state_dir, data, caplog):
    """The log names both files, the record is empty, and the damaged file is kept for inspection."""
    path, aside = state_dir / "journal", state_dir / "journal.damaged"
    path.write_bytes(data)
    loaded = journal.load()

    assert loaded == Record()
    assert aside.read_bytes() == data
    assert not path.exists()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.messages[0].startswith(f"cannot read journal {path}: damaged (")
    assert str(aside) in caplog.messages[0]


def test_a_journal_can_be_written_after_damage(journal, state_dir):
    """A damaged file does not prevent the next commit."""
    (state_dir / "journal").write_bytes(b"?")
    journal.load()
    journal.commit(PENDING)

    assert journal.load() == PENDING


def test_a_half_written_file_is_ignored(state_dir):
    """The temporary file of a killed process is not a record and is overwritten."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(COMPLETED)
    (state_dir / "journal.new").write_bytes(file_of(PENDING)[:50])
    with contextlib.closing(Journal(state_dir)) as following:
        assert following.load() == COMPLETED
        following.commit(PENDING)
        assert following.load() == PENDING
    assert sorted(path.name for path in state_dir.iterdir()) == ["journal"]


@contextlib.contextmanager
def full_disk(limit):
    """Let no file grow beyond *limit*, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(journal, record):
    """Commit until the file has no room for one more."""
    journal.commit(record)
    while journal._file.has_room(journal_format.encode(record)[0]):
        journal.commit(record)


def test_a_commit_that_fails_midway_keeps_the_old_record(journal, state_dir):
    """The kernel writes some bytes and refuses the rest: the temporary file is removed."""
    journal.commit(COMPLETED)
    fill(journal, COMPLETED)
    with (
        full_disk(600),
        pytest.raises(
            StateError,
            match=rf"^cannot write journal {state_dir}/journal: EFBIG \(.*\): make it a .*--state-dir$",
        ),
    ):
        journal.commit(PENDING)

    assert journal.load() == COMPLETED
    assert not (state_dir / "journal.new").exists()
    journal.commit(PENDING)
    assert journal.load() == PENDING


def test_a_failed_commit_does_not_change_which_record_is_acknowledged(journal):
    """The next mark belongs to the record on disk."""
    fill(journal, PENDING)
    with full_disk(600), contextlib.suppress(StateError):
        journal.commit(replace(PENDING, sequence=8))
    journal.acknowledge()

    assert journal.load() == ACKNOWLEDGED


def test_a_removed_directory_is_recreated_by_the_next_commit(journal, state_dir, caplog):
    """That record is durable, and the directory locked."""
    journal.commit(COMPLETED)
    shutil.rmtree(state_dir)
    journal.acknowledge()
    journal.commit(PENDING)
    journal.acknowledge()

    assert journal.load() == ACKNOWLEDGED
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert caplog.messages == [f"state directory {state_dir} was removed: recreated"]
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        Journal(state_dir)


def test_a_directory_that_another_process_recreated_belongs_to_it(journal, state_dir):
    """The first process writes nothing there, so sends nothing, until the other one has ended."""
    journal.commit(COMPLETED)
    shutil.rmtree(state_dir)
    with contextlib.closing(Journal(state_dir)) as other:
        for _ in range(2):
            with pytest.raises(StateError, match=r"^cannot lock state directory .*: in use by process"):
                journal.commit(PENDING)
        other.commit(COMPLETED)
        assert other.load() == COMPLETED
    journal.commit(PENDING)

    assert journal.load() == PENDING


def test_removing_files_does_not_release_the_lock(journal, state_dir):
    """The directory itself is locked."""
    journal.commit(COMPLETED)
    for path in state_dir.iterdir():
        path.unlink()
    with pytest.raises(StateError, match="in use by"):
        Journal(state_dir)


def test_the_directory_may_be_a_symbolic_link(tmp_path):
    """As for a systemd service with a dynamic user; both paths share one lock."""
    (tmp_path / "private").mkdir()
    (tmp_path / "public").symlink_to("private")
    with contextlib.closing(Journal(tmp_path / "public")) as journal:
        journal.commit(PENDING)
        with pytest.raises(StateError, match="in use by"):
            Journal(tmp_path / "private")

    assert reopened(tmp_path / "private") == PENDING


def planted_link(path):
    (path.parent.parent / "elsewhere").write_bytes(file_of(PENDING))
    path.symlink_to("../elsewhere")


@pytest.mark.parametrize("name", ["journal", "journal.new"])
@pytest.mark.parametrize("plant", [planted_link, os.mkfifo], ids=lambda plant: plant.__name__)
@pytest.mark.timeout(20)
def test_a_planted_link_or_fifo_is_neither_followed_nor_read(state_dir, name, plant, caplog):
    """It is renamed or replaced, and the file that a link leads to stays as it was."""
    state_dir.mkdir()
    plant(state_dir / name)
    with contextlib.closing(Journal(state_dir)) as journal:
        assert journal.load() == Record()
        journal.commit(COMPLETED)
        assert journal.load() == COMPLETED
    assert [path.read_bytes() for path in state_dir.parent.glob("elsewhere")] in ([], [file_of(PENDING)])
    assert len(caplog.messages) == (name == "journal")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")
def test_a_journal_of_another_user_is_not_trusted(journal, state_dir, caplog):
    """Unless that user owns the directory."""
    journal.commit(PENDING)
    os.chown(state_dir / "journal", 12345, 12345)
    os.chown(state_dir, 12345, 12345)
    assert journal.load() == PENDING
    os.chown(state_dir, 0, 0)

    assert journal.load() == Record()
    assert "damaged (it belongs to user 12345): kept as" in caplog.text


def test_a_journal_beyond_the_size_limit_is_damaged(journal, state_dir, caplog):
    """It is not read into memory."""
    (state_dir / "journal").write_bytes(b"XDPOTEL3")
    os.truncate(state_dir / "journal", 1 << 40)

    assert journal.load() == Record()
    assert "bytes are more than it can have" in caplog.text


def test_no_journal_is_written_beyond_the_size_limit(journal, monkeypatch):
    """It could not be read back, so the batch is not sent."""
    fill(journal, COMPLETED)
    monkeypatch.setattr(journal_module, "LARGEST_BYTES", 500)
    with pytest.raises(
        StateError,
        match=r"^cannot write journal .*: its [0-9,]+ bytes exceed the limit of 500: lower --series-limit$",
    ):
        journal.commit(PENDING)
    monkeypatch.undo()

    assert journal.load() == COMPLETED


def test_a_directory_named_journal_is_renamed(journal, state_dir):
    """It does not prevent the next commit."""
    (state_dir / "journal").mkdir()
    assert journal.load() == Record()
    journal.commit(PENDING)

    assert journal.load() == PENDING


@pytest.mark.parametrize("below", ["", "state"])
def test_a_file_in_place_of_the_directory_is_an_error(tmp_path, below):
    """The message is one line with the remedy."""
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" / below
    with pytest.raises(
        StateError, match=rf"^cannot open state directory {directory}: (EEXIST|ENOTDIR) .*--state-dir$"
    ):
        Journal(directory)


@pytest.fixture
def at_each_flush(state_dir, monkeypatch):
    """Call a function before each flush in the state directory, with the path that is flushed."""
    fsync = os.fsync

    def watch(function):
        def flush(fd):
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if path.is_relative_to(state_dir):
                function(path)
            fsync(fd)

        monkeypatch.setattr(os, "fsync", flush)

    return watch


def test_a_record_of_a_new_file_is_on_disk_before_its_name_is(journal, state_dir, at_each_flush):
    """Written, flushed, renamed, and the directory flushed: each step is complete before the next flush."""
    fill(journal, COMPLETED)
    flushes = []

    def note(flushed):
        flushes.append(
            (flushed, {path.name: record_in(path.read_bytes())[0] for path in state_dir.iterdir()})
        )

    at_each_flush(note)
    journal.commit(PENDING)

    assert flushes == [
        (state_dir / "journal.new", {"journal": COMPLETED, "journal.new": PENDING}),
        (state_dir, {"journal": PENDING}),
    ]


def test_a_record_is_appended_by_one_flushed_write(journal, state_dir, monkeypatch):
    """To blocks that the file has; what was there stays as it is."""
    journal.commit(COMPLETED)
    path = state_dir / "journal"
    before, inode, writes = path.read_bytes(), path.stat().st_ino, []
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda *given: (writes.append(given), pwritev(*given))[1])
    assert journal.commit(PENDING) == len(before) == journal_module.FILE_BYTES
    after = path.read_bytes()

    assert [(at, flags) for _, _, at, flags in writes] == [(2 * BLOCK, os.RWF_DSYNC)]
    assert (len(after), path.stat().st_ino) == (len(before), inode)
    assert after[: 2 * BLOCK] == before[: 2 * BLOCK]
    assert record_in(after) == (PENDING, False)


def test_a_large_record_is_flushed_as_a_whole(journal, monkeypatch):
    """Written in parts, and then flushed once."""
    journal.commit(COMPLETED)
    flushed = []
    monkeypatch.setattr(journal_log, "_WRITE_BYTES", 100)
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    journal.commit(PENDING)

    assert len(flushed) == 1
    assert journal.load() == PENDING


def test_a_full_file_is_followed_by_a_new_one(journal, state_dir):
    """Whatever the number of records, the file does not grow, and the last one is read."""
    inodes = set()
    for sequence in range(1, 70):
        journal.commit(replace(PENDING, sequence=sequence))
        inodes.add((state_dir / "journal").stat().st_ino)
        assert (state_dir / "journal").stat().st_size == journal_module.FILE_BYTES

    assert len(inodes) > 1
    assert journal.load().sequence == 69


@pytest.mark.parametrize("how", ["removed", "replaced", "renamed", "cut off", "emptied"])
def test_a_file_that_another_process_changed_is_replaced(journal, state_dir, how):
    """No record goes into a file that the next process would not read."""
    path = state_dir / "journal"
    journal.commit(COMPLETED)
    if how == "removed":
        path.unlink()
    elif how == "renamed":
        path.rename(state_dir / "backup")
    elif how == "replaced":
        shutil.copy(path, state_dir / "copy")
        (state_dir / "copy").rename(path)
    else:
        os.truncate(path, BLOCK if how == "cut off" else 0)
    journal.commit(PENDING)

    assert journal.load() == PENDING


def test_a_batch_is_on_disk_before_it_is_sent_again(state_dir, monkeypatch):
    """After an error the last process may have left it in memory alone, in pages that count as written."""
    with contextlib.closing(Journal(state_dir)) as journal:
        journal.commit(COMPLETED)
        journal.commit(PENDING)
    writes = []
    pwritev = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda *given: (writes.append(given[1:]), pwritev(*given))[1])
    data = (state_dir / "journal").read_bytes()

    assert reopened(state_dir) == PENDING
    ((parts, at, flags),) = writes
    assert (at, flags) == (2 * BLOCK, os.RWF_DSYNC)
    assert data[at:].rstrip(b"\0") == bytes(parts[0]).rstrip(b"\0")
    assert (state_dir / "journal").read_bytes() == data


@given(st.lists(st.binary(max_size=9), max_size=12))
def test_small_parts_are_written_together(parts):
    """Large ones are written as they are; none is lost and the order is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_log, "_WRITE_BYTES", 8)
        written = list(journal_log.coalesced(parts))

    assert b"".join(written) == b"".join(parts)
    assert all(len(part) <= 8 or part in parts for part in written)


@pytest.mark.parametrize("failing", ["journal.new", "state"])
def test_a_flush_that_fails_is_an_error(journal, at_each_flush, failing):
    """A record must not be sent if the flush of the file or of the directory failed."""

    def fail(flushed):
        if flushed.name == failing:
            raise OSError(errno.EIO, "Input/output error")

    fill(journal, COMPLETED)
    at_each_flush(fail)
    for _ in range(2):
        with pytest.raises(StateError, match=r"^cannot write journal .*: EIO \(Input/output error\): "):
            journal.commit(PENDING)

    at_each_flush(lambda _flushed: None)
    assert journal.load() in (COMPLETED, PENDING)


def test_nothing_is_appended_after_a_write_that_failed(journal, state_dir, monkeypatch):
    """The kernel reports an error once, and then takes the pages for written: the next file is a new one."""
    journal.commit(COMPLETED)
    inode = (state_dir / "journal").stat().st_ino

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fail)
        with pytest.raises(StateError, match=r"^cannot write journal .*: EIO \(Input/output error\): "):
            journal.commit(PENDING)
    journal.commit(PENDING)

    assert (state_dir / "journal").stat().st_ino != inode
    assert journal.load() == PENDING


HOLDER = """
import sys
from pathlib import Path
from sidecar.state.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def started(program, *arguments):
    """A separate process that has printed its first line."""
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


def test_a_second_process_is_refused_and_the_error_names_the_first(state_dir):
    """One writer per directory; the lock ends with the process, however it ends."""
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


def test_a_refused_second_journal_leaves_the_first_locked(journal, state_dir):
    """Also after several attempts; the error still names the holder."""
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


def test_a_process_killed_at_any_moment_leaves_a_valid_record(state_dir):
    """SIGKILL while it writes, repeatedly: no damage, and no record older than the last one committed."""
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


SERIES_IN_FILES = (("network.interface.name", "eth0"), ("cpu", 1)), (("ok", True),)


@pytest.mark.parametrize("version", ["XDPOTEL3", "XDPOTEL4", "XDPOTEL5", "XDPOTEL6"])
def test_a_journal_of_an_earlier_release_is_read(version):
    """Its batch is kept as it is, and the streams continue; that release's code wrote the file."""
    record, acknowledged = record_in((JOURNALS / f"{version}-pending").read_bytes())
    before, after = record.acknowledged["pin:a"], record.pending.baselines["pin:a"]

    assert not acknowledged
    assert (record.sequence, record.accepted, record.pending.requests) == (3, True, (b"one", b"two"))
    assert before.streams == {
        SERIES_IN_FILES[0]: StreamState((5, 3), 1000),
        SERIES_IN_FILES[1]: StreamState((2**64 - 1, 0), 1000),
    }
    assert after.streams[SERIES_IN_FILES[1]] == StreamState((2**64 - 1, 4), 2000)
    assert after.maps[after.identity].cells[bytes(4)] == (9, 1, 2)


@pytest.mark.parametrize("version", ["XDPOTEL3", "XDPOTEL4", "XDPOTEL5", "XDPOTEL6"])
def test_a_journal_in_columns_of_an_earlier_release_is_read(version):
    """As large maps are held; and the mark of an acknowledgement is valid."""
    record, acknowledged = record_in((JOURNALS / f"{version}-in-columns").read_bytes())

    assert acknowledged
    assert dict(record.acknowledged["pin:a"].streams) == {
        SERIES_IN_FILES[0]: StreamState((9, 3), 2000),
        SERIES_IN_FILES[1]: StreamState((2**64 - 1, 4), 2000),
    }


def test_records_that_continue_others_are_read():
    """In a file of three, of which only the first is complete; each changed one counter of 60 series."""
    record, acknowledged = record_in((JOURNALS / "XDPOTEL5-continued").read_bytes())
    counters = [
        next(iter(baselines["a"].maps.values())).cells.values()
        for baselines in (record.acknowledged, record.pending.baselines)
    ]

    assert (record.sequence, acknowledged) == (3, False)
    assert [sum(packets for packets, _ in cells) for cells in counters] == [
        sum(range(60)) + 100,
        sum(range(60)) + 300,
    ]
    assert len(record.acknowledged["a"].streams) == 60


def test_small_sources_that_continue_others_are_read():
    """In a file of three records of 40 sources, of which only the first has the forms of all of them."""
    data = (JOURNALS / "XDPOTEL6-continued").read_bytes()
    record, acknowledged = record_in(data)

    assert data.count(b"network.interface.name") == 40
    assert (record.sequence, acknowledged) == (3, False)
    for number in range(40):
        name = f"pin:/sys/fs/bpf/{number}"
        before, after = record.acknowledged[name], record.pending.baselines[name]
        assert next(iter(before.maps.values())).cells == {bytes(4): (2 * number, 2)}
        assert after.streams == {
            (("network.interface.name", f"veth{number}"),): StreamState((3 * number, 3), 3000)
        }
        assert record.snapshots[name][0].reading.cells == {bytes(4): (3 * number, 3)}


def test_the_format_has_not_changed():
    """The record in a file of this version is encoded to the bytes of that file."""
    pending, in_columns = ((JOURNALS / f"XDPOTEL6-{name}").read_bytes() for name in ("pending", "in-columns"))

    assert file_of(record_in(pending)[0]) == pending
    assert marked(file_of(record_in(in_columns)[0])) == in_columns


@pytest.mark.parametrize("version", ["XDPOTEL3", "XDPOTEL4", "XDPOTEL5"])
def test_the_batch_of_an_earlier_release_is_acknowledged_in_its_file(state_dir, version):
    """If the process ends right after that, or goes back to that release, it is not sent again."""
    state_dir.mkdir()
    path = state_dir / "journal"
    shutil.copy(JOURNALS / f"{version}-pending", path)
    with contextlib.closing(Journal(state_dir)) as journal:
        assert journal.load().pending
        journal.acknowledge()
    record, acknowledged = record_in(path.read_bytes())

    assert acknowledged
    assert path.read_bytes().startswith(version.encode())
    with contextlib.closing(Journal(state_dir)) as journal:
        assert journal.load() == record.after_acknowledgement()
        journal.commit(PENDING)
        assert journal.load() == PENDING
