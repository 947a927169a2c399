# SPDX-License-Identifier: Apache-2.0
"""Columns yield the same as the entry-by-entry code, byte for byte."""

import struct
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from sidecar.attributes import decode_attributes, encode_attributes, split_attributes
from sidecar.counts import cells, delta, idle
from sidecar.counts.columns import (
    EncodedAttributes,
    LabelTable,
    SeriesTable,
    StreamTable,
    Table,
    common_prefix,
    match,
    names,
    naming,
)
from sidecar.counts.columns import cells as column_cells
from sidecar.errors import SourceError
from sidecar.histogram import IDENTITY, Histogram
from sidecar.kinds import KINDS, Kind
from sidecar.model import Field, Layout, MapIdentity, Reading, Snapshot, Temporality
from sidecar.observe.exposition import Exposition
from sidecar.otlp import columns_encode, columns_template, encode, message, points
from sidecar.otlp.message import key_values
from sidecar.scale import Scale
from sidecar.schema import CPU_BYTES, Instrument, Schema, ValueLabel, View
from sidecar.state import journal_format
from sidecar.state.record import Record
from tests import plain_exposition
from tests.journals import reread

RESOURCE = (("host.name", "node-1"),)


@pytest.fixture(autouse=True, scope="module")
def _all_are_large():
    """Even a source of one series may omit it, and a request has few points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle, "OMIT_IDLE_FROM", 0)
        patch.setattr(journal_format, "COLUMNAR_FROM", 0)
        patch.setattr(message, "POINTS_PER_REQUEST", 7)
        yield


@st.composite
def fields(draw):
    """Draw fields of a value of 32 bytes, at any offset."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        bits = draw(st.sampled_from([8, 16, 32, 64, 64, 64]) | st.integers(1, 64))
        offset = 8 * draw(st.integers(0, 23)) + (0 if bits in (8, 16, 32, 64) else draw(st.integers(0, 7)))
        found.append(Field(f"f{number}", offset, bits, draw(st.booleans()), draw(st.booleans())))
    return tuple(found)


@given(fields(), st.integers(1, 3), st.integers(0, 5), st.randoms(use_true_random=False))
def test_many_values_are_read_as_single_values_are(of, slots, count, chance):
    """Narrow, signed, big-endian, unaligned, per-CPU: the same cells."""
    layout = Layout(32, of)
    raws = [chance.randbytes(32 * slots) for _ in range(count)]

    numbers = column_cells.cells(b"".join(raws), count, layout, slots)

    expected = [number for raw in raws for number in cells.cells(raw, layout, slots)]
    assert numbers.T.reshape(-1).tolist() == expected


LABELS = {
    "own": lambda key: (("key", key.hex()),),
    "long": lambda key: (("key", key.hex() * (60 if key[0] % 2 else 1)), ("number", key[0] - 3)),
    "shared": lambda key: (("pair", key[0] // 2), ("odd", key[0] % 5 == 1)),
    "one": lambda _key: (),
}
labels = st.sampled_from(list(LABELS.values()))
limits = st.sampled_from([1, 3, 9, 1000])

# Two bytes give three states.
STATE = ValueLabel(lambda raw: (("state", (raw[3] + raw[5]) % 3),), 8, (3, 5))

SINGLE = [kind for kind in KINDS.values() if not kind.is_histogram]


@st.composite
def histograms(draw, of):
    """Draw a histogram whose buckets are any fields."""
    names = st.sampled_from([field.name for field in of])
    counts = draw(st.lists(names, min_size=1, max_size=20))
    sums = draw(st.lists(names, max_size=2))
    scale = draw(st.sampled_from([IDENTITY, Scale(1, 1000)]))
    made = Histogram(tuple(counts), tuple(map(float, range(len(counts) - 1))), tuple(sums), scale)
    kind = draw(st.sampled_from([Kind.HISTOGRAM] * 3 + [Kind.EXPONENTIAL]))
    attributes = draw(st.sampled_from([(), (("direction", "in"),)]))
    return Instrument("h", "By", "Some.", "f", kind, attributes, histogram=made, reads=(*counts, *sums))


@st.composite
def schemas(draw):
    of = draw(fields())
    instruments = []
    for number in range(draw(st.integers(1, 5))):
        field = draw(st.sampled_from(of))
        attributes = draw(st.sampled_from([(), (), (("direction", "in"),), (("direction", "out"), ("n", 1))]))
        kind = draw(st.sampled_from([Kind.COUNTER, Kind.UPDOWNCOUNTER, Kind.UPDOWNCOUNTER, *SINGLE]))
        name = draw(st.sampled_from(["a", "b", f"c{number}"]))
        scale = draw(st.sampled_from([None, None, None, Scale(1, 1000), Scale(7, 2)]))
        instruments.append(Instrument(name, "1", "Some.", field.name, kind, attributes, "", scale))
    if draw(st.booleans()):
        instruments.append(draw(histograms(of)))
    return Schema(
        "test",
        Layout(32, of),
        tuple(instruments),
        draw(labels),
        draw(st.sampled_from([(), (("site", "x"),)])),
        draw(st.sampled_from([None, None, "cpu"])),
        draw(limits),
        value_label=draw(st.sampled_from([None, None, STATE])),
        only_used=draw(st.booleans()),
    )


SELECTS = [None, lambda key: key[0] % 4 != 1, lambda key: key[0] % 3 == 0]


@st.composite
def viewed(draw, schema):
    """Draw the same schema, about one or more views of some keys, which may tell buckets apart."""
    views, instruments = [], []
    for at in range(draw(st.sampled_from([1, 1, 2, 3]))):
        view, of_view = draw(views_of(schema, f"@v{at}"))
        views.append(view)
        instruments += of_view
    return replace(schema, views=tuple(views), instruments=tuple(draw(st.permutations(instruments))))


@st.composite
def views_of(draw, schema, name):
    """Draw a view, and the instruments that are about it."""
    buckets = draw(st.sampled_from([0, 0, 3]))
    of = tuple(
        replace(field, signed=draw(st.sampled_from([field.signed] * 3 + [True])))
        for field in schema.layout.fields
    )
    label = draw(st.sampled_from([schema.label] * 2 + [LABELS["shared"]]))
    bucket = (lambda key: key[0] % 3) if buckets else None
    view = View(name, label, of, draw(st.sampled_from(SELECTS)), bucket, buckets)
    if not buckets:
        some = schema.instruments[: draw(st.integers(1, 5))]
        return view, [in_view(instrument, name) for instrument in some]
    made = [
        Histogram(tuple(f"{of}{name}[{at}]" for at in range(3)), (1.0, 2.5), (f"{of}{name}[0]",) * more)
        for of in draw(st.permutations([field.name for field in schema.layout.fields]))[:2]
        for more in (0, 2)
    ]
    return view, [
        Instrument(
            f"h{at}", "1", "", "f", Kind.HISTOGRAM, (), name, histogram=one, reads=(one.counts[0][:2],)
        )
        for at, one in enumerate(made)
    ]


def in_view(instrument, view):
    if instrument.histogram is None:
        return replace(instrument, view=view)
    counts, sums = (
        tuple(f"{name}{view}" for name in names)
        for names in (instrument.histogram.counts, instrument.histogram.sums)
    )
    return replace(instrument, view=view, histogram=replace(instrument.histogram, counts=counts, sums=sums))


numbers = st.sampled_from([0, 0, 0, 1, 2, 255, 2**32 - 1, 2**62, 2**63, 2**64 - 1]) | st.integers(0, 300)
SLOTS = 2


def columns_of(schema):
    return schema.columns(1 if schema.cpu else SLOTS)


@st.composite
def changes(draw, schema, key_size):
    """Draw new cells for some keys, or None for those that are deleted."""
    masks = [2**column.bits - 1 for column in columns_of(schema) for _ in range(column.cells)]
    row = st.tuples(*[numbers] * len(masks)).map(
        lambda row: tuple(number & mask for number, mask in zip(row, masks, strict=True))
    )
    found = draw(st.dictionaries(st.integers(0, 11), st.none() | row, max_size=12))
    if not schema.cpu:
        return {key.to_bytes(key_size, "little"): row for key, row in found.items()}
    return {
        key.to_bytes(key_size, "little") + struct.pack("=I", cpu): row and (row[0] >> cpu, *row[1:])
        for key, row in found.items()
        for cpu in range(SLOTS)
    }


@st.composite
def nudges(draw, schema, held):
    """Draw changes of known keys: each cell a little up or down, or the whole entry emptied."""
    columns = [column for column in columns_of(schema) for _ in range(column.cells)]
    found = {}
    for key, row in held.items():
        steps = draw(st.none() | st.just(()) | st.tuples(*[st.integers(-3, 9)] * len(row)))
        if steps is not None:
            masked = [(2**column.bits - 1) for column in columns]
            moved = zip(row, steps or [-old for old in row], masked, strict=True)
            found[key] = tuple((old + more) & mask for old, more, mask in moved)
    return found


@dataclass
class World:
    """The maps of a source by their id, and its baselines by either code."""

    key_size: int
    maps: dict = field(default_factory=dict)
    states: bytes = bytes(32)
    plain: object = None
    fast: object = None
    uptime: int = 10**12

    def snapshot(self, schema, map_id, now):
        identity = MapIdentity("boot-1", map_id, 5, self.key_size, 64, 1000)
        held = {key: row for key, row in self.maps[map_id].items() if any(row) or not schema.only_used}
        labels = {}
        if schema.value_label:
            labels = {key: schema.value_label.attributes(self.state(key)) for key in held}
        reading = Reading(columns_of(schema), held, labels)
        return Snapshot(identity, 10**14, now, reading, self.uptime)

    def in_columns(self, snapshot, schema):
        size = self.key_size + (CPU_BYTES if schema.cpu else 0)
        table = Table.of(snapshot.reading.cells, size)
        labels = {}
        if schema.value_label:
            labels = LabelTable(table, b"".join(map(self.state, table)), schema.value_label)
        return replace(snapshot, reading=replace(snapshot.reading, cells=table, labels=labels))

    def state(self, key):
        return self.states[key[0] : key[0] + 2]

    def restart(self):
        """Continue from the journal."""
        self.fast = reread(Record(1, {"a": self.fast})).acknowledged["a"]
        self.plain = replace(self.plain, boottime_ns=None)


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except SourceError as error:
        return str(error)


def fields_of(falls):
    """Return the fields; which key is the example of a field does not matter."""
    return {fall.field for fall in falls}


def same(expected, got, schema):
    """Compare a window of either code, down to the bytes of the requests."""
    assert list(got.series) == list(expected.series)
    assert list(got.to_export) == list(expected.to_export)
    assert list(got.baseline.streams.items()) == list(expected.baseline.streams.items())
    assert got.baseline == expected.baseline
    assert sorted(got.emptied) == sorted(expected.emptied)
    assert sorted(got.vanished) == sorted(expected.vanished)
    assert (got.fallen, fields_of(got.falls)) == (expected.fallen, fields_of(expected.falls))
    assert (got.overflowed, got.forgotten) == (expected.overflowed, expected.forgotten)
    assert got.gone == expected.gone
    for temporality in Temporality:
        requests = [
            outcome(encode.encode, RESOURCE, temporality, [(schema, window.to_export)])
            for window in (expected, got)
        ]
        assert requests[0] == requests[1]


# The current map, preceded by those that were replaced since and are read a last time.
maps_read = st.sampled_from([(41,), (41,), (41,), (42,), (41, 42), (42, 41), (41, 42, 43)])
waits = st.sampled_from([1, 5, 10**9, 100 * 10**9, 400 * 10**9, 700 * 10**9])
# Of the wall clock: back by an hour, back by less than a wait, forward.
steps = st.sampled_from([0] * 6 + [-3600 * 10**9, -4 * 10**9, 3600 * 10**9])
often, seldom = st.sampled_from([True] * 5 + [False]), st.sampled_from([False] * 5 + [True])


@settings(max_examples=200, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_every_history_is_exported_in_the_same_bytes(data):
    """Keys come and go, entries are emptied, maps replaced, series exceed the limit, some are omitted."""
    of = data.draw(schemas())
    if data.draw(st.booleans()):
        of = data.draw(viewed(of))
    world = World(data.draw(st.sampled_from([1, 4, 7, 16])))
    pages = Exposition()
    now = 10**15
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(seldom):
            label = data.draw(labels)
            views = tuple(replace(view, label=label) for view in of.views)
            of = replace(of, label=label, views=views, series_limit=data.draw(limits))
        if world.fast and data.draw(seldom):
            world.restart()
        read = data.draw(maps_read)
        for map_id in read:
            held = world.maps.get(map_id, {})
            held = {**held, **data.draw(nudges(of, held)), **data.draw(changes(of, world.key_size))}
            world.maps[map_id] = {key: row for key, row in held.items() if row is not None}
        if data.draw(seldom):
            world.states = data.draw(st.binary(min_size=32, max_size=32))
        waited = data.draw(waits)
        world.uptime += waited
        now += waited + data.draw(steps)
        everything, is_large = data.draw(st.booleans()), data.draw(often)
        snapshots = [world.snapshot(of, map_id, now) for map_id in read]
        before = world.plain or delta.baseline_from_zero(snapshots[0])
        expected = delta.advance(before, snapshots, of, include_idle=everything)
        if is_large:
            snapshots = [world.in_columns(snapshot, of) for snapshot in snapshots]
        before = world.fast or delta.baseline_from_zero(snapshots[0])
        got = delta.advance(before, snapshots, of, include_idle=everything)

        if is_large and len(read) == 1:
            assert isinstance(got.series, SeriesTable)
            assert isinstance(got.baseline.streams, StreamTable)
        same(expected, got, of)
        page = b"".join(pages.page((), [(of, got.series)])).decode()
        assert page == plain_exposition.page([(of, expected.series)])
        world.plain, world.fast = expected.baseline, got.baseline


@pytest.mark.parametrize("temporality", Temporality)
def test_a_level_that_falls_stays_in_columns(temporality):
    """Below zero or above it: one such series must not make all of them slow."""
    of = (Field("packets", 0), Field("level", 64, signed=True))
    kinds = (Kind.COUNTER, Kind.UPDOWNCOUNTER)
    made = tuple(
        Instrument(field.name, "1", "", field.name, kind) for field, kind in zip(of, kinds, strict=True)
    )
    levels = Schema("test", Layout(16, of), made, LABELS["own"])
    world = World(1)
    for now, level in enumerate([5, 3, -2, -9, 4]):
        world.maps[41] = {b"a": (now, level % 2**64), b"b": (now, 7)}
        snapshot = world.snapshot(levels, 41, 10**15 + now)
        expected = delta.advance(world.plain or delta.baseline_from_zero(snapshot), [snapshot], levels)
        snapshot = world.in_columns(snapshot, levels)
        got = delta.advance(world.fast or delta.baseline_from_zero(snapshot), [snapshot], levels)
        world.plain, world.fast = expected.baseline, got.baseline

        assert columns_encode.is_encodable(temporality, levels, got.to_export)
        same(expected, got, levels)


@pytest.mark.parametrize("temporality", Temporality)
def test_several_views_stay_in_columns(temporality, monkeypatch):
    """Also a metric whose points belong to several of them; some keys belong to none."""
    of = (Field("packets", 0), Field("level", 64))
    views = tuple(
        View(f"@{at}", LABELS["shared"], of, lambda key, at=at: key[0] % 4 in (at, 2)) for at in range(2)
    )
    instruments = [
        Instrument(name, "1", "", field, kind, (("view", view.name),) * (name != "a"), view.name)
        for view in views
        for name, field, kind in (
            (f"a{view.name}", "packets", Kind.COUNTER),
            ("b", "packets", Kind.COUNTER),
            ("c", "level", Kind.GAUGE),
        )
    ]
    made = Schema("test", Layout(16, of), tuple(instruments), LABELS["own"], views=views, value_label=STATE)
    world = World(1)
    for turn in range(4):
        world.maps[41] = {bytes([key]): (key * turn, turn) for key in range(12 + turn)}
        world.states = bytes([turn // 2] * 32)
        snapshot = world.snapshot(made, 41, 10**15 + turn)
        expected = delta.advance(world.plain or delta.baseline_from_zero(snapshot), [snapshot], made)
        snapshot = world.in_columns(snapshot, made)
        with monkeypatch.context() as patch:
            patch.setattr(delta, "_window_by_key", None)
            got = delta.advance(world.fast or delta.baseline_from_zero(snapshot), [snapshot], made)
        world.plain, world.fast = expected.baseline, got.baseline
        assert columns_encode.is_encodable(temporality, made, got.to_export)
        same(expected, got, made)


def test_metrics_keep_their_order_where_an_instrument_is_there_twice():
    """That of its first place."""
    kinds = {"a": Kind.UPDOWNCOUNTER, "b": Kind.COUNTER, "c": Kind.GAUGE}
    made = tuple(Instrument(name, "1", "", "f", kinds[name]) for name in "abcb")
    of = Schema("test", Layout(8, (Field("f", 0),)), made, LABELS["own"])
    world = World(1, {41: {b"a": (5,)}})
    plain = world.snapshot(of, 41, 10**15)
    fast = world.in_columns(plain, of)

    same(*(delta.advance(delta.baseline_from_zero(each), [each], of) for each in (plain, fast)), of)


@pytest.mark.parametrize("counts_zeros", [False, True])
@pytest.mark.parametrize("sums", [(), ("f3",)])
def test_an_exponential_histogram_stays_in_columns(counts_zeros, sums, monkeypatch):
    """Although each of its points has another length."""
    of = tuple(Field(f"f{at}", 64 * at) for at in range(4))
    made = Histogram(("f0", "f1", "f2"), (1.0, 2.0), sums, Scale(1, 8), -2, counts_zeros)
    instruments = [
        Instrument("h", "By", "", "f", Kind.EXPONENTIAL, tags, histogram=made, reads=("f0", "f1", "f2", "f3"))
        for tags in ((("direction", "in"),), (("direction", "out"),))
    ]
    held = Schema("test", Layout(32, of), tuple(instruments), LABELS["long"])
    world = World(1)
    for turn, count in enumerate([1, 127, 128, 2**40, 2**63]):
        world.maps[41] = {bytes([key]): (count, key, turn, 10 * count % 2**64) for key in range(turn + 2)}
        snapshot = world.snapshot(held, 41, 10**15 + turn)
        expected = delta.advance(world.plain or delta.baseline_from_zero(snapshot), [snapshot], held)
        snapshot = world.in_columns(snapshot, held)
        got = delta.advance(world.fast or delta.baseline_from_zero(snapshot), [snapshot], held)
        world.plain, world.fast = expected.baseline, got.baseline
        same(expected, got, held)
        with monkeypatch.context() as patch:
            patch.setattr(points, "exponential", None)
            for temporality in Temporality:
                assert encode.encode(RESOURCE, temporality, [(held, got.to_export)])


@pytest.mark.parametrize("temporality", Temporality)
def test_the_points_of_all_series_are_laid_out_once(temporality, monkeypatch):
    """While the series stay the same; a new one, and some of them alone, are laid out anew."""
    laid_out = []
    template = columns_template.template
    monkeypatch.setattr(
        columns_template, "template", lambda *given: laid_out.append(len(given[1])) or template(*given)
    )
    of = Field("packets", 0)
    made = Schema("test", Layout(8, (of,)), (Instrument("a", "1", "", of.name),), LABELS["own"])
    world = World(1)
    for now, keys in enumerate([b"ab", b"ab", b"ab", b"abc", b"abc", b"abc"]):
        world.maps[41] = {bytes([key]): (now + 1,) for key in keys}
        snapshot = world.in_columns(world.snapshot(made, 41, 10**15 + now), made)
        got = delta.advance(world.fast or delta.baseline_from_zero(snapshot), [snapshot], made)
        world.fast = got.baseline
        list(columns_encode.requests(RESOURCE, temporality, made, got.to_export))
    list(columns_encode.requests(RESOURCE, temporality, made, got.to_export.only([1])))

    new = temporality is Temporality.DELTA_WITH_BASE
    assert laid_out == ([2, 2, 3, 3, 1] if new else [2, 3, 1])


@given(st.integers(0, 5), st.integers(1, 20), st.sets(st.integers(0, 2**32 - 1), max_size=4))
def test_each_key_is_split_by_cpu(count, size, cpus):
    """As in the entry-by-entry code."""
    keys = [number.to_bytes(size, "big") for number in range(count)]

    assert column_cells.split_by_cpu(b"".join(keys), size, sorted(cpus)) == b"".join(
        key + struct.pack("=I", cpu) for key in keys for cpu in sorted(cpus)
    )


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
attributes = st.lists(st.tuples(words, words | st.integers(-(2**63), 2**63 - 1) | st.booleans()), max_size=4)


@given(attributes.map(tuple))
def test_attributes_are_encoded_as_by_the_generated_classes(pairs):
    """And they are decoded again."""
    name = encode_attributes(pairs)

    assert name == NumberDataPoint(attributes=key_values(pairs)).SerializeToString()
    assert decode_attributes(name) == pairs


same_type = st.sampled_from([words, st.integers(-(2**63), 2**64), st.booleans(), words | st.integers()])
alike = st.lists(st.tuples(words, same_type), max_size=3).flatmap(
    lambda columns: st.lists(
        st.tuples(*(st.tuples(st.just(key), value) for key, value in columns)), max_size=8
    )
)


@settings(max_examples=200)
@given(alike | st.lists(attributes.map(tuple), max_size=4), st.integers(1, 3))
def test_the_attributes_of_many_series_are_encoded_as_those_of_each(series, at_once):
    """Whether all of them have the same keys and types, or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "_AT_ONCE", at_once)
        assert list(naming.encode(series)) == list(map(encode_attributes, series))


def test_texts_and_integers_are_encoded_in_columns(monkeypatch):
    """None of them one by one."""
    monkeypatch.setattr(naming, "encode_attributes", None)
    series = [
        (("source", text), ("port", number)) for text in ("", "é", "x" * 300) for number in (0, -1, 443)
    ]

    assert list(naming.encode(series)) == list(map(encode_attributes, series))


@given(st.lists(attributes.map(tuple), unique=True, max_size=6), st.lists(attributes.map(tuple), max_size=6))
def test_series_are_found_by_their_names(there, wanted):
    """Those without attributes too; two that are the same are noticed."""
    wanted = [*wanted, *there[::2]]
    names_there, names_wanted = (
        EncodedAttributes.of(map(encode_attributes, series)) for series in (there, wanted)
    )

    found = names.find(names_there, names_wanted).tolist()

    assert found == [there.index(series) if series in there else -1 for series in wanted]
    assert names.are_distinct(names_there)
    assert not names.are_distinct(names.together(names_there, names_there)) or not there


@given(st.lists(attributes.map(tuple), unique=True, max_size=4), st.integers(0, 4), attributes.map(tuple))
def test_the_common_prefix_is_counted_in_whole_series(pairs, kept, other):
    """Even where the bytes are the same, but divided differently."""
    each = list(map(encode_attributes, pairs))
    changed = [*each[:kept], encode_attributes(other), *each[kept:]]
    merged = [*each[:kept], b"".join(each[kept:])]
    for more in (each, changed, merged, each[:kept]):
        expected = next(
            (at for at, (a, b) in enumerate(zip(each, more, strict=False)) if a != b),
            min(len(each), len(more)),
        )
        assert common_prefix(EncodedAttributes.of(each), EncodedAttributes.of(more)) == expected


@given(attributes.map(tuple))
def test_encoded_attributes_are_split(pairs):
    """Each is a message of its own."""
    expected = [pair.SerializeToString() for pair in key_values(pairs)]
    assert list(split_attributes(encode_attributes(pairs))) == expected


@given(st.integers(1, 20), st.sets(st.integers(0, 9), max_size=8), st.sets(st.integers(0, 9)), st.booleans())
def test_keys_are_found_in_their_rows(size, now, before, alike):
    """Even if their hashes collide."""
    names = [b"".join(number.to_bytes(size, "big") for number in keys) for keys in (now, before)]
    hashed = match._hash
    with pytest.MonkeyPatch.context() as patch:
        if alike:
            patch.setattr(match, "_hash", lambda words: hashed(words) & np.uint64(1))
        match.find_rows.cache_clear()
        places = match.find_rows(*names, size)
    match.find_rows.cache_clear()

    assert places.tolist() == [list(before).index(key) if key in before else -1 for key in now]
