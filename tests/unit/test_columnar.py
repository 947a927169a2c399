# SPDX-License-Identifier: Apache-2.0
"""The way of large maps says the same, byte for byte, as the plain one."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from sidecar import columnar_match, columnar_read, delta, otlp_encode, percpu, points, quiet
from sidecar.columnar import Ledger, Table
from sidecar.columnar_series import SeriesTable
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot, Temporality
from sidecar.otlp_attributes import key_values
from sidecar.schema import Instrument, Kind, Schema

IDENTITY = MapIdentity("boot-1", 41, 5, 4, 64, 1000)
RESOURCE = (("host.name", "node-1"),)


@pytest.fixture(autouse=True, scope="module")
def _all_are_large():
    """A source of one series may leave it out, and a request has few points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quiet, "LARGE", 0)
        patch.setattr(otlp_encode, "POINTS_PER_REQUEST", 7)
        yield


@st.composite
def fields(draw):
    """Fields of a value of 32 bytes, at any place."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        bits = draw(st.sampled_from([8, 16, 32, 64, 64, 64]) | st.integers(1, 64))
        offset = 8 * draw(st.integers(0, 23)) + (0 if bits in (8, 16, 32, 64) else draw(st.integers(0, 7)))
        found.append(Field(f"f{number}", offset, bits, draw(st.booleans()), draw(st.booleans())))
    return tuple(found)


@given(fields(), st.integers(1, 3), st.integers(0, 5), st.randoms(use_true_random=False))
def test_many_values_are_read_as_one_is(of, slots, count, chance):
    """Narrow, signed, big-endian, unaligned, per-CPU: the same cells."""
    layout = Layout(32, of)
    raws = [chance.randbytes(32 * slots) for _ in range(count)]

    numbers = columnar_read.cells(b"".join(raws), count, layout, slots)

    expected = [number for raw in raws for number in percpu.cells(raw, layout, slots)]
    assert numbers.T.reshape(-1).tolist() == expected


LABELS = {
    "own": lambda key: (("key", key.hex()),),
    "long": lambda key: (("key", key.hex() * (60 if key[0] % 2 else 1)), ("number", key[0] - 3)),
    "shared": lambda key: (("pair", key[0] // 2), ("odd", key[0] % 5 == 1)),
    "one": lambda _key: (),
}


@st.composite
def schemas(draw):
    of = draw(fields())
    instruments = []
    for number in range(draw(st.integers(1, 5))):
        field = draw(st.sampled_from(of))
        attributes = draw(st.sampled_from([(), (), (("direction", "in"),), (("direction", "out"), ("n", 1))]))
        kind = draw(st.sampled_from([Kind.COUNTER, Kind.UPDOWNCOUNTER, Kind.UPDOWNCOUNTER, *Kind]))
        name = draw(st.sampled_from(["a", "b", f"c{number}"]))
        instruments.append(Instrument(name, "1", "Some.", field.name, kind, attributes))
    return Schema(
        "test",
        Layout(32, of),
        tuple(instruments),
        LABELS[draw(st.sampled_from(list(LABELS)))],
        draw(st.sampled_from([(), (("site", "x"),)])),
        series_limit=draw(st.sampled_from([1, 3, 9, 1000])),
    )


numbers = st.sampled_from([0, 0, 0, 1, 2, 255, 2**32 - 1, 2**62, 2**63, 2**64 - 1]) | st.integers(0, 300)


def histories(of):
    """Readings one after the other, each with the time since the last, and whether everything is said."""
    slots = 2
    width = sum(column.cells for column in of.columns(slots))
    limits = [2**column.bits - 1 for column in of.columns(slots) for _ in range(column.cells)]
    row = st.tuples(*[numbers] * width).map(
        lambda row: tuple(n & limit for n, limit in zip(row, limits, strict=True))
    )
    keys = st.integers(0, 11).map(lambda number: struct.pack("=I", number))
    return st.lists(
        st.tuples(
            st.dictionaries(keys, st.none() | row, max_size=12),
            st.sampled_from([1, 5, 10**9, 100 * 10**9, 400 * 10**9, 700 * 10**9]),
            st.booleans(),
            st.sampled_from([41, 41, 41, 41, 42]),
        ),
        min_size=1,
        max_size=6,
    )


def in_columns(snapshot):
    return replace(snapshot, reading=replace(snapshot.reading, cells=Table.of(snapshot.reading.cells, 4)))


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except otlp_encode.SourceError as error:
        return str(error)


@settings(max_examples=120, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_every_history_is_said_in_the_same_bytes(data):
    """Keys come and go, entries are emptied, maps replaced, series find no room, some are left out."""
    of = data.draw(schemas())
    cells, plain, fast = {}, None, None
    now = 10**15
    for changes, later, everything, map_id in data.draw(histories(of)):
        cells = {key: row for key, row in {**cells, **changes}.items() if row is not None}
        now += later
        identity = replace(IDENTITY, map_id=map_id)
        snapshot = Snapshot(identity, 10**14, now, Reading(of.columns(2), dict(cells)))
        expected = delta.advance(plain or delta.since_birth(snapshot), [snapshot], of, everything=everything)
        snapshot = in_columns(snapshot)
        got = delta.advance(fast or delta.since_birth(snapshot), [snapshot], of, everything=everything)
        plain, fast = expected.baseline, got.baseline

        assert isinstance(got.series, SeriesTable)
        assert isinstance(fast.accounts, Ledger)
        assert list(got.series) == list(expected.series)
        assert list(got.said) == list(expected.said)
        assert list(fast.accounts.items()) == list(plain.accounts.items())
        assert fast == plain
        assert (got.emptied, set(got.vanished)) == (expected.emptied, set(expected.vanished))
        assert (got.overflowed, got.forgotten) == (expected.overflowed, expected.forgotten)
        for temporality in Temporality:
            requests = [
                outcome(otlp_encode.encode, RESOURCE, temporality, [(of, step.said)])
                for step in (expected, got)
            ]
            assert requests[0] == requests[1]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
attributes = st.lists(st.tuples(words, words | st.integers(-(2**63), 2**63 - 1) | st.booleans()), max_size=4)


@given(attributes.map(tuple))
def test_a_series_is_named_by_the_bytes_of_the_generated_classes(pairs):
    """And can be told from them again."""
    name = points.said(pairs)

    assert name == NumberDataPoint(attributes=key_values(pairs)).SerializeToString()
    assert points.attributes(name) == pairs


@given(st.integers(1, 20), st.sets(st.integers(0, 9), max_size=8), st.sets(st.integers(0, 9)), st.booleans())
def test_keys_are_found_where_they_were(size, now, before, alike):
    """Also if their numbers should be the same."""
    names = [b"".join(number.to_bytes(size, "big") for number in keys) for keys in (now, before)]
    hashed = columnar_match._hashed
    with pytest.MonkeyPatch.context() as patch:
        if alike:
            patch.setattr(columnar_match, "_hashed", lambda words: hashed(words) & np.uint64(1))
        columnar_match.matched.cache_clear()
        places = columnar_match.matched(*names, size)
    columnar_match.matched.cache_clear()

    assert places.tolist() == [list(before).index(key) if key in before else -1 for key in now]
