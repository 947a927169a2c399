# SPDX-License-Identifier: Apache-2.0
"""Journals that are damaged although their checksum matches: refused when they are read, or harmless."""

import json
import struct
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.counts import delta
from sidecar.counts.columns import COLUMNAR_FROM, StreamTable, Table
from sidecar.errors import SourceError
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot, Temporality
from sidecar.otlp.encode import encode as otlp
from sidecar.schema import Instrument, Schema
from sidecar.state import journal_format, journal_log
from sidecar.state.journal_format import encode
from sidecar.state.record import Batch, Record
from tests.journals import file_of, record_in

SCHEMA = Schema(
    "test",
    Layout(16, (Field("packets", 0), Field("gone", 64, 32))),
    (
        Instrument("test.packets", "1", "Some.", "packets"),
        Instrument("test.gone", "1", "Some.", "gone", Kind.UPDOWNCOUNTER),
    ),
    lambda key: (("key", key.hex()), ("number", key[0] - 1), ("odd", key[0] % 2 == 1)),
)
COLUMNS = SCHEMA.columns(2)
IDENTITY = MapIdentity("boot-1", 41, 5, 4, 16, 1024)


def snapshot(map_id, now, count):
    cells = {n.to_bytes(4, "little"): (now + n, n % 7, 1) for n in range(count)}
    held = Table.of(cells, 4) if journal_format.COLUMNAR_FROM == 0 else cells
    return Snapshot(IDENTITY._replace(map_id=map_id), 10, now, Reading(COLUMNS, held))


def journal(count):
    """A record as a sidecar writes it: two sources, a batch, a replaced map and newer snapshots."""
    first = snapshot(41, 1_000, count)
    second, newest = snapshot(42, 2_000, count + 1), snapshot(42, 3_000, count)
    before = delta.advance(delta.baseline_from_zero(first), [first], SCHEMA)
    pending = delta.advance(before.baseline, [first, second], SCHEMA)
    requests = otlp((("host.name", "n"),), Temporality.DELTA_WITH_BASE, [(SCHEMA, pending.to_export)])
    return Record(
        7,
        {"pin:/a": before.baseline, "pin:/b": before.baseline},
        Batch(requests, {"pin:/a": pending.baseline}),
        {"pin:/a": (first, newest)},
    )


@contextmanager
def columns_from(large):
    """Hold maps of more than *large* entries in columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_format, "COLUMNAR_FROM", large)
        yield


def taken_apart(record):
    payload = b"".join(encode(record)[0])
    (length,) = struct.unpack_from("=I", payload)
    header, rest = json.loads(payload[4 : 4 + length]), payload[4 + length :]
    blobs = []
    for size in header["blobs"]:
        blobs.append(rest[:size])
        rest = rest[size:]
    return header, blobs


def put_together(header, blobs, *, sizes=None):
    """A file with a valid checksum."""
    header = header | {"blobs": list(map(len, blobs)) if sizes is None else sizes}
    text = json.dumps(header).encode()
    payload = struct.pack("=I", len(text)) + text + b"".join(blobs)
    return journal_log.head(0) + b"".join(journal_log.framed([payload])[0])


def paths(value, path=()):
    """The path of every part of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def changed(value, path, change):
    """Return a JSON value in which the part at *path* is changed."""
    if not path:
        return change(value)
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], change)
    return copy


def without(value, path):
    copy = value.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = without(value[path[0]], path[1:])
    return copy


numbers = st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70])
leaves = st.none() | st.booleans() | numbers | st.integers(-5, 80) | st.floats() | st.text(max_size=4)
anything = st.recursive(
    leaves, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=2)
)


NEAR = [lambda was, by=by: was + by if type(was) is int else [was] for by in (-100, -1, 1, 2, 100)]


@st.composite
def damaged(draw, record):
    """A journal with up to three changes and a valid checksum."""
    header, blobs = taken_apart(record)
    header.pop("blobs")
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            path = draw(st.sampled_from(list(paths(header))[1:]))
            how = draw(st.sampled_from(["other", "near", "gone"]))
            if how == "gone":
                header = without(header, path)
            elif how == "near":
                header = changed(header, path, draw(st.sampled_from(NEAR)))
            else:
                header = changed(header, path, lambda _: draw(anything))
        else:
            at = draw(st.integers(0, len(blobs) - 1))
            blobs[at] = draw(other_blob(blobs, blobs[at]))
        if not isinstance(header, dict):
            break
    return put_together(header, blobs)


@st.composite
def other_blob(draw, blobs, was):
    """A blob in place of *was*."""
    at = draw(st.integers(0, max(0, len(was) - 1)))
    word = at // 8 * 8
    if was[:1] == b"[" and draw(st.booleans()):
        return draw(other_json(was))
    return draw(
        st.sampled_from(
            [
                b"",
                was[:at],
                was + b"\0",
                was + bytes(8),
                was + was,
                was[:at] + bytes([was[at] ^ 1 << draw(st.integers(0, 7))]) + was[at + 1 :] if was else b"?",
                was[:word] + struct.pack("=Q", draw(st.integers(0, 2**64 - 1))) + was[word + 8 :],
                draw(st.sampled_from(blobs)),
            ]
        )
    )


@st.composite
def other_json(draw, was):
    try:
        value = json.loads(was)
    except ValueError:  # damaged already
        return b""
    path = draw(st.sampled_from(list(paths(value))))
    return json.dumps(changed(value, path, lambda _: draw(anything))).encode()


def continue_from(record):
    """Do with a record what a sidecar does with the one it loads."""
    assert record_in(file_of(record))[0] == record
    for completed in (record.after_acknowledgement(), record.after_give_up()):
        assert completed.pending is None
    for temporality in Temporality:
        for source, baseline in record.acknowledged.items():
            assert baseline.identity in baseline.maps
            snapshots = delta.with_lost_maps(
                record.snapshots.get(source, ()), [snapshot(42, 4_000, 3), snapshot(43, 5_000, 4)]
            )
            window = delta.advance(baseline, snapshots, SCHEMA, include_idle=False)
            encode(Record(record.sequence, {source: window.baseline}, None, {source: window.snapshots}))
            with suppress(SourceError):  # beyond what OTLP can encode: the pipeline leaves the source out
                otlp((), temporality, [(SCHEMA, window.to_export)])


@pytest.mark.parametrize("large", [0, COLUMNAR_FROM])
@given(st.data())
@settings(max_examples=150)
def test_a_damaged_journal_is_refused_or_does_no_harm(large, data):
    """Decoding raises ValueError, or returns a record that a sidecar can continue from."""
    with columns_from(large):
        file = data.draw(damaged(journal(3)))
        try:
            record, _ = record_in(file)
        except ValueError:
            return
        continue_from(record)


@pytest.mark.parametrize("large", [0, COLUMNAR_FROM])
def test_the_journal_is_valid_before_it_is_damaged(large):
    """Otherwise the tests above would prove nothing: it is read and continued from, in columns or not."""
    with columns_from(large):
        record = journal(3)
        header, blobs = taken_apart(record)
        header.pop("blobs")
        assert record_in(put_together(header, blobs)) == (record, False)
        baseline = record.acknowledged["pin:/a"]
        assert isinstance(baseline.streams, StreamTable) is (large == 0)
        continue_from(record)
