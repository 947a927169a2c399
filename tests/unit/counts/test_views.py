# SPDX-License-Identifier: Apache-2.0
"""Histograms, rows with a meaning and chosen keys: from the text of a configuration to OTLP points."""

import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sidecar.attributes import from_key_values
from sidecar.counts import delta, fields
from sidecar.counts.reading import build_reading
from sidecar.describe.file.sources import load
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.errors import ConfigError
from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.model import MapIdentity, Snapshot, Temporality
from sidecar.observe.exposition import exposition
from sidecar.otlp.encode import encode
from sidecar.otlp.split import split


def numbers(*names, bits=64, at=0):
    return tuple(
        Part(name, at + bits * index, bits, Encoding.UNSIGNED, f"__u{bits}")
        for index, name in enumerate(names)
    )


SLOTS = 8
# struct { u32 dev; u32 slot; } → struct { u64 value; u64 bytes; }
BY_SLOT = Shape(numbers("dev", "slot", bits=32), numbers("value", "bytes"), key_size=8, value_size=16)
# u32 → struct { u64 total; u64 bytes; u32 slots[8]; }
IN_VALUE = Shape(
    numbers("key", bits=32),
    (*numbers("total", "bytes"), *numbers(*(f"slots.{at}" for at in range(SLOTS)), bits=32, at=128)),
    key_size=4,
    value_size=48,
)
# enum { packets, bytes, connections } → u64
ROWS = Shape(
    (Part("key", 0, 32, Encoding.ENUM, "enum row", names={0: "PACKETS", 1: "BYTES", 2: "OPEN"}),),
    numbers("value"),
    key_size=4,
    value_size=8,
)


class Map:
    """A map in memory, and the windows of its source."""

    def __init__(self, path, shape, text, kind=uapi.MAP_HASH, entries=1000):
        path = path / "config.yaml"
        path.write_text(f"sources:\n  - pin: /sys/fs/bpf/m\n{text}\n")
        self.info = MapInfo(7, kind, "m", shape.key_size, shape.value_size, entries, 1, 1, 1)
        (spec,) = load(path)
        self.schema = resolve(spec, self.info, shape)
        self.entries = {}
        self.baseline = None
        self.now = 10**15
        self.identity = MapIdentity("boot", 7, kind, shape.key_size, shape.value_size, entries)

    def window(self):
        self.now += 10**10
        keys, values = b"".join(self.entries), b"".join(self.entries.values())
        reading = build_reading(iter([(keys, values)] if keys else []), self.info.key_size, [0], self.schema)
        snapshot = Snapshot(self.identity, 10**15, self.now, reading)
        baseline = self.baseline or delta.baseline_from_zero(snapshot)
        window = delta.advance(baseline, [snapshot], self.schema)
        self.baseline = window.baseline
        return window

    def points(self, temporality=Temporality.DELTA):
        """The points of the next window, by metric and attributes."""
        return points(self.schema, self.window().to_export, temporality)


def points(schema, series, temporality=Temporality.DELTA):
    found = {}
    for request in encode((), temporality, [(schema, series)]):
        message = ExportMetricsServiceRequest.FromString(request)
        for metric in message.resource_metrics[0].scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                found.setdefault((metric.name, from_key_values(point.attributes)), []).append(point)
    return found


def one(found, name, *attributes):
    (point,) = found[name, attributes]
    return point


HISTOGRAM = "kind: histogram, buckets: log2"


def only(text):
    return f"    metrics: [{{{text}}}]"


def test_elements_of_an_array_are_buckets(tmp_path):
    """Each bucket's growth, with inclusive bounds: bcc's slot i holds 2^i to 2^(i+1)-1."""
    a = Map(tmp_path, IN_VALUE, only(f"name: size, field: slots, {HISTOGRAM}, sum: bytes, unit: By"))
    key = struct.pack("=I", 5)
    a.entries[key] = struct.pack("=QQ8I", 3, 1000, 0, 2, 0, 0, 0, 1, 0, 0)

    point = one(a.points(), "size", ("key", 5))
    assert list(point.bucket_counts) == [0, 2, 0, 0, 0, 1, 0, 0]
    assert list(point.explicit_bounds) == [1, 3, 7, 15, 31, 63, 127]
    assert (point.count, point.sum, point.HasField("sum")) == (3, 1000.0, True)

    # The 32 bits of a bucket wrap without loss.
    a.entries[key] = struct.pack("=QQ8I", 3, 1010, 0, 2, 7, 0, 0, 1, 0, 2)
    point = one(a.points(), "size", ("key", 5))
    assert (list(point.bucket_counts), point.count, point.sum) == ([0, 0, 7, 0, 0, 0, 0, 2], 9, 10.0)


@pytest.mark.parametrize(
    ("buckets", "scale", "expected"),
    [
        ("log2_zero", "", [0, 1, 3, 7, 15, 31, 63]),
        ("exp2", "", [1, 2, 4, 8, 16, 32, 64]),
        ("exp2_zero", "", [0, 1, 2, 4, 8, 16, 32]),
        ("{linear: {start: 10, width: 5}}", "", [14, 19, 24, 29, 34, 39, 44]),
        ("[1, 2.5, 10, 20, 30, 40, 1000]", "", [1, 2.5, 10, 20, 30, 40, 1000]),
        ("log2", ", scale: 1e-9", [1e-9, 3e-9, 7e-9, 1.5e-8, 3.1e-8, 6.3e-8, 1.27e-7]),
    ],
)
def test_bounds(tmp_path, buckets, scale, expected):
    """In the metric's unit; the last bucket has none."""
    text = only(f"name: size, field: slots, kind: histogram, buckets: {buckets}{scale}")
    a = Map(tmp_path, IN_VALUE, text)
    a.entries[bytes(4)] = struct.pack("=QQ8I", 0, 0, *[1] * 8)

    point = one(a.points(), "size", ("key", 0))

    assert list(point.explicit_bounds) == expected
    assert not point.HasField("sum")


def test_the_key_tells_the_bucket(tmp_path):
    """As in ebpf_exporter: buckets 0 to N-1 and the sum in bucket N; numbers beyond count in the last."""
    text = only(f"name: delay, field: value, {HISTOGRAM}, bucket: slot, sum: 5, scale: 1e-9")
    a = Map(tmp_path, BY_SLOT, text)
    for dev, slot, count in [(1, 0, 1), (1, 3, 4), (1, 4, 2), (1, 9, 3), (1, 5, 1500), (2, 1, 7)]:
        a.entries[struct.pack("=II", dev, slot)] = struct.pack("=QQ", count, 0)

    found = a.points()

    point = one(found, "delay", ("dev", 1))
    assert (list(point.bucket_counts), point.sum, point.count) == ([1, 0, 0, 4, 5], 1.5e-6, 10)
    point = one(found, "delay", ("dev", 2))
    assert (list(point.bucket_counts), point.sum) == ([0, 7, 0, 0, 0], 0.0)


def test_a_sum_beside_each_bucket(tmp_path):
    """The sums of all buckets add up; a counter of the same map keeps the bucket as an attribute."""
    text = (
        f"    metrics: [{{name: size, field: value, {HISTOGRAM}, bucket: slot, slots: 4, sum: bytes}},"
        " {name: calls, field: value}]"
    )
    a = Map(tmp_path, BY_SLOT, text)
    a.entries[struct.pack("=II", 1, 0)] = struct.pack("=QQ", 2, 20)
    a.entries[struct.pack("=II", 1, 2)] = struct.pack("=QQ", 3, 300)

    found = a.points()

    point = one(found, "size", ("dev", 1))
    assert (list(point.bucket_counts), point.sum) == ([2, 0, 3, 0], 320.0)
    assert one(found, "calls", ("dev", 1), ("slot", 2)).as_int == 3
    assert len(found) == 3


def test_a_deleted_bucket_counts_again_from_zero(tmp_path):
    """Growth is computed by key, so a reset of one bucket loses and invents nothing in the others."""
    a = Map(tmp_path, BY_SLOT, only(f"name: d, field: value, {HISTOGRAM}, bucket: slot, slots: 3"))
    first, second = struct.pack("=II", 1, 0), struct.pack("=II", 1, 1)
    a.entries = {first: struct.pack("=QQ", 10, 0), second: struct.pack("=QQ", 5, 0)}
    a.points()

    a.entries = {first: struct.pack("=QQ", 4, 0)}  # made again
    assert list(one(a.points(), "d", ("dev", 1)).bucket_counts) == [4, 0, 0]
    a.entries[second] = struct.pack("=QQ", 1, 0)
    (point,) = a.points(Temporality.CUMULATIVE)["d", (("dev", 1),)]
    assert list(point.bucket_counts) == [14, 6, 0]


def test_a_base_point_holds_all_earlier_windows(tmp_path):
    """As for sums: in the first nanosecond, so only a Collector that does not know the series takes it."""
    a = Map(tmp_path, IN_VALUE, only(f"name: size, field: slots, {HISTOGRAM}, sum: bytes"))
    a.entries[bytes(4)] = struct.pack("=QQ8I", 1, 10, 1, *[0] * 7)
    a.points()
    a.entries[bytes(4)] = struct.pack("=QQ8I", 1, 25, 1, 2, *[0] * 6)

    base, window = a.points(Temporality.DELTA_WITH_BASE)["size", (("key", 0),)]

    assert (list(base.bucket_counts)[:2], base.sum, base.count) == ([1, 0], 10.0, 1)
    assert base.time_unix_nano == base.start_time_unix_nano + 1
    assert (list(window.bucket_counts)[:2], window.sum) == ([0, 2], 15.0)


@pytest.mark.parametrize(
    ("buckets", "zeros", "counts", "offset"),
    [("log2", 0, 8, 0), ("log2_zero", 3, 7, 0), ("exp2", 0, 8, -1), ("exp2_zero", 3, 7, -1)],
)
def test_an_exponential_histogram(tmp_path, buckets, zeros, counts, offset):
    """Scale 0 has the powers of two as bounds."""
    text = only(f"name: size, field: slots, kind: histogram, buckets: {buckets}, as: exponential")
    a = Map(tmp_path, IN_VALUE, text)
    a.entries[bytes(4)] = struct.pack("=QQ8I", 0, 0, 3, 200, *[1] * 6)

    point = one(a.points(), "size", ("key", 0))

    assert (point.scale, point.zero_count, point.count) == (0, zeros, 209)
    assert (point.positive.offset, list(point.positive.bucket_counts)) == (
        offset,
        [3, 200, *[1] * 6][-counts:],
    )


def test_a_row_is_a_metric(tmp_path):
    """By number or name, each with its unit and kind, without an attribute for the row."""
    text = """    metrics:
      - {name: ip.packets, field: value, at: 0, unit: "{packet}"}
      - {name: ip.bytes, field: value, at: BYTES, unit: By}
      - {name: ip.open, field: value, at: OPEN, kind: updowncounter}"""
    a = Map(tmp_path, ROWS, text, kind=uapi.MAP_ARRAY, entries=5)
    a.entries = {
        struct.pack("=I", row): struct.pack("=q", value) for row, value in enumerate([3, 90, 5, 77, 8])
    }
    a.points()
    changed = enumerate([4, 190, -2, 78, 8])
    a.entries = {struct.pack("=I", row): struct.pack("=q", value) for row, value in changed}

    found = a.points()

    assert {name: point.as_int for (name, _), (point,) in found.items()} == {
        "ip.packets": 1,
        "ip.bytes": 100,
        "ip.open": -7,
    }
    assert {attributes for _, attributes in found} == {()}


def test_a_gauge_in_one_row_is_no_reset_of_a_counter_in_another(tmp_path):
    """It may fall, and nothing is reported as emptied."""
    text = "    metrics: [{name: a, field: value, at: 0}, {name: b, field: value, at: 1, kind: gauge}]"
    a = Map(tmp_path, ROWS, text, kind=uapi.MAP_ARRAY, entries=3)
    a.entries = {struct.pack("=I", row): struct.pack("=Q", 9) for row in range(3)}
    a.points()
    a.entries[struct.pack("=I", 1)] = struct.pack("=Q", 4)

    window = a.window()

    assert (window.emptied, window.fallen) == ((), 0)
    assert one(points(a.schema, window.to_export), "b").as_int == 4


def test_a_row_that_never_counted_has_a_series(tmp_path):
    """Of zero: the metric was asked for. The other rows have none."""
    a = Map(tmp_path, ROWS, only("name: a, field: value, at: OPEN"), kind=uapi.MAP_ARRAY, entries=3)
    a.entries = {struct.pack("=I", row): struct.pack("=Q", 5 * (row == 0)) for row in range(3)}

    assert one(a.points(), "a").as_int == 0
    a.entries[struct.pack("=I", 2)] = struct.pack("=Q", 3)
    assert {name: point.as_int for (name, _), (point,) in a.points().items()} == {"a": 3}


def test_a_row_by_the_name_in_a_table(tmp_path):
    """The user's names count as well as those of BTF, before the row has counted."""
    key = "[{field: key, attribute: what, decoder: table, table: {1: size}}]"
    metrics = "[{name: a, field: value, at: size}, {name: b, field: value, at: OPEN}]"
    a = Map(tmp_path, ROWS, f"    key: {key}\n    metrics: {metrics}", kind=uapi.MAP_ARRAY, entries=3)
    a.entries = {struct.pack("=I", row): struct.pack("=Q", 0) for row in range(3)}

    assert {name: point.as_int for (name, _), (point,) in a.points().items()} == {"a": 0, "b": 0}


def test_the_index_of_an_array_by_its_name_in_btf(tmp_path):
    """ebpf_exporter's `struct { u32 bucket; }` as the key of an array."""
    named = replace(ROWS, key=(Part("bucket", 0, 32, Encoding.UNSIGNED, "__u32"),))
    a = Map(tmp_path, named, only(f"name: a, field: value, {HISTOGRAM}, bucket: bucket"), uapi.MAP_ARRAY, 4)
    a.entries = {struct.pack("=I", row): struct.pack("=Q", row) for row in range(4)}

    assert list(one(a.points(), "a").bucket_counts) == [0, 1, 2, 3]


def test_two_rows_of_a_large_array(tmp_path):
    """Only these are counted, whatever the size of the array; the journal keeps them all."""
    text = "    rows: all\n    metrics: [{name: a, field: value, at: 2}, {name: b, field: value, at: 1999}]"
    a = Map(tmp_path, ROWS, text, kind=uapi.MAP_ARRAY, entries=2000)
    for turn in (1, 2):
        a.entries = {struct.pack("=I", row): struct.pack("=Q", row * turn) for row in range(2000)}
        found = a.points()

        assert {name: point.as_int for (name, _), (point,) in found.items()} == {"a": 2, "b": 1999}
    assert len(a.baseline.maps[a.identity].cells) == 2000


def test_chosen_keys(tmp_path):
    """By number, name of an enum or decoded text; a series has only the metrics that chose a key of it."""
    text = """    key: [{field: dev, attribute: dev, decoder: table, table: {1: eth, 2: wifi}}]
    metrics:
      - {name: low, field: value, where: {slot: [0, 1]}}
      - {name: wifi, field: value, where: {dev: wifi}}
      - {name: all, field: value}"""
    a = Map(tmp_path, BY_SLOT, text)
    for dev, slot, count in [(1, 0, 1), (1, 1, 2), (1, 2, 4), (2, 7, 8), (3, 7, 16)]:
        a.entries[struct.pack("=II", dev, slot)] = struct.pack("=QQ", count, 0)

    found = a.points()

    assert {
        (name, dict(attributes)["dev"]): point.as_int for (name, attributes), (point,) in found.items()
    } == {
        ("low", "eth"): 3,
        ("wifi", "wifi"): 8,
        ("all", "eth"): 7,
        ("all", "wifi"): 8,
        ("all", "3"): 16,
    }


def test_a_scaled_sum_is_a_double(tmp_path):
    """Without a scale it stays an exact integer."""
    text = "    metrics: [{name: t, field: total, scale: 1e-9}, {name: b, field: bytes}]"
    a = Map(tmp_path, IN_VALUE, text)
    a.entries[bytes(4)] = struct.pack("=QQ8I", 1_500_000_000, 2**60 + 1, *[0] * 8)

    found = a.points()

    assert one(found, "t", ("key", 0)).as_double == 1.5
    assert one(found, "b", ("key", 0)).as_int == 2**60 + 1


def test_the_text_format(tmp_path):
    """Cumulative buckets up to +Inf, the sum and the count."""
    a = Map(tmp_path, IN_VALUE, only(f"name: size, field: slots, {HISTOGRAM}, sum: bytes"))
    a.entries[bytes(4)] = struct.pack("=QQ8I", 0, 30, 1, 0, 2, 0, 0, 0, 0, 4)

    page = exposition((), [(a.schema, a.window().series)])

    lines = [line for line in page.splitlines() if "xdp_size" in line]
    assert lines[1:4] == [
        "# TYPE xdp_size histogram",
        'xdp_size_bucket{key="0",le="1"} 1',
        'xdp_size_bucket{key="0",le="3"} 1',
    ]
    assert lines[-3:] == [
        'xdp_size_bucket{key="0",le="+Inf"} 7',
        'xdp_size_sum{key="0"} 30.0',
        'xdp_size_count{key="0"} 7',
    ]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2**32)), max_size=60), st.data())
def test_any_samples_are_counted_once(tmp_path_factory, samples, data):
    """Whatever the windows: the deltas add up to the samples, each at or below the bound of its bucket."""
    text = only(f"name: d, field: value, {HISTOGRAM}_zero, bucket: slot, slots: 12, sum: bytes")
    a = Map(tmp_path_factory.mktemp("m"), BY_SLOT, text)
    seen = {}
    counts = {}
    for dev, sample in samples:
        key = struct.pack("=II", dev, sample.bit_length())
        count, total = counts.get(key, (0, 0))
        counts[key] = count + 1, total + sample
        a.entries[key] = struct.pack("=QQ", *counts[key])
        if data.draw(st.booleans()):
            collect(seen, a.points())
    collect(seen, a.points())

    for dev in {dev for dev, _ in samples}:
        of_dev = [sample for other, sample in samples if other == dev]
        bounds, buckets, total = seen[dev]
        assert total == sum(of_dev)
        for at, bound in enumerate((*bounds, math.inf)):
            assert sum(buckets[: at + 1]) == sum(sample <= bound for sample in of_dev)


def collect(seen, found):
    for (_, attributes), (point,) in found.items():
        _, buckets, total = seen.get(dict(attributes)["dev"], ((), [0] * 12, 0))
        buckets = [a + b for a, b in zip(buckets, point.bucket_counts, strict=True)]
        seen[dict(attributes)["dev"]] = point.explicit_bounds, buckets, total + point.sum


@pytest.mark.parametrize(
    ("shape", "entry", "refusal"),
    [
        (IN_VALUE, "field: total, kind: histogram, buckets: log2", "field total is no array of numbers"),
        (
            IN_VALUE,
            "field: slots, kind: histogram, buckets: [1, 2]",
            "2 bounds make 3 buckets, and slots has 8",
        ),
        (IN_VALUE, "field: slots, kind: histogram, buckets: log2, sum: 3", "element 3 is not the last of 8"),
        (
            IN_VALUE,
            "field: slots, kind: histogram, buckets: log2, as: exponential, scale: 2",
            "a scale would move",
        ),
        (BY_SLOT, "field: value, bucket: slot, kind: histogram, buckets: [1], as: exponential", "at powers"),
        (BY_SLOT, "field: value, bucket: slots, kind: histogram, buckets: log2", "did you mean 'slot'"),
        (
            BY_SLOT,
            "field: value, bucket: slot, kind: histogram, buckets: {linear: {width: 2}}",
            "the number of buckets is unknown: write it: `slots: 20`",
        ),
        (BY_SLOT, "field: value, at: 3", "has several parts (dev, slot): write `where: {dev: 3}`"),
        (BY_SLOT, "field: value, where: {slot: many}", "its values have no names: write the number"),
        (BY_SLOT, "field: value, where: {pid: 3}", "has no such field"),
        (ROWS, "field: value, at: PACKET", "it has no such name: did you mean 'PACKETS'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, shape, entry, refusal):
    """Before anything starts, with the line and what to write."""
    with pytest.raises(ConfigError) as caught:
        Map(tmp_path, shape, only(f"name: a, {entry}"))

    assert refusal in str(caught.value)
    assert "config.yaml:3" in str(caught.value)


def test_a_row_that_the_array_does_not_have(tmp_path):
    """It would never count."""
    with pytest.raises(ConfigError, match="row 5: map m has the rows 0 to 4"):
        Map(tmp_path, ROWS, "    metrics: [{name: a, field: value, at: 5}]", uapi.MAP_ARRAY, 5)


@pytest.mark.parametrize("name", ["size.count", "size_sum", "size/bucket"])
def test_the_series_of_a_histogram_are_taken(tmp_path, name):
    """Prometheus would show one of the two."""
    metrics = f"[{{name: size, field: slots, {HISTOGRAM}}}, {{name: {name}, field: total}}]"

    with pytest.raises(ConfigError, match="in Prometheus a series of it has the name of one of 'size'"):
        Map(tmp_path, IN_VALUE, f"    metrics: {metrics}")


@pytest.mark.parametrize("name", ["le", "quantile"])
def test_the_labels_of_buckets_are_taken(tmp_path, name):
    """As an attribute of a series they would be lost among those of the buckets."""
    with pytest.raises(ConfigError, match="tells the parts of a histogram apart"):
        Map(tmp_path, IN_VALUE, f"    attributes: {{{name}: x}}")


def test_a_map_that_lost_a_row_and_a_histogram(tmp_path):
    """What only the map before it counted is still sent; a number that both have goes on."""
    metrics = (
        "{name: a, field: value, where: {dev: 1}}, {name: b, field: bytes},"
        f" {{name: h, field: value, {HISTOGRAM}, bucket: slot, slots: 3}}"
    )
    before = Map(tmp_path, BY_SLOT, f"    metrics: [{metrics}]")
    now = Map(tmp_path, BY_SLOT, "    metrics: [{name: b, field: bytes}]")

    schema = now.schema.with_lost_sums(before.schema)

    assert [instrument.name for instrument in schema.instruments] == ["b", "a", "h"]
    assert {number.name for number in before.schema.numbers} == {number.name for number in schema.numbers}
    before.entries = {struct.pack("=II", 1, 2): struct.pack("=QQ", 5, 50)}
    before.window()
    before.schema = schema
    before.entries = {struct.pack("=II", 1, 2): struct.pack("=QQ", 6, 70)}
    found = before.points()
    assert one(found, "b", ("dev", 1), ("slot", 2)).as_int == 20
    assert one(found, "a", ("dev", 1), ("slot", 2)).as_int == 1
    assert list(one(found, "h", ("dev", 1)).bucket_counts) == [0, 0, 1]


def test_renamed_fields_keep_the_totals_of_their_views(tmp_path):
    """A field with another name in the configuration goes on counting in all views."""
    a = Map(tmp_path, BY_SLOT, only(f"name: h, field: value, {HISTOGRAM}, bucket: slot, slots: 3"))
    a.entries = {struct.pack("=II", 1, 2): struct.pack("=QQ", 5, 50)}
    a.window()

    renamed = fields.renamed(a.baseline, {"value": "count"})

    assert renamed.fields == ("count@slot[0]", "count@slot[1]", "count@slot[2]")
    assert renamed.streams == a.baseline.streams


def test_requests_of_histograms_are_split(tmp_path):
    """A receiver may take less than 4 MiB; the points stay the same."""
    a = Map(tmp_path, IN_VALUE, only(f"name: size, field: slots, {HISTOGRAM}, sum: bytes"))
    a.entries = {struct.pack("=I", key): struct.pack("=QQ8I", 1, key, *[1] * 8) for key in range(3000)}
    (request,) = encode((), Temporality.DELTA, [(a.schema, a.window().to_export)])

    parts = list(split(request, 64 * 1024))

    assert max(map(len, parts)) <= 64 * 1024
    counts = [
        point.count
        for part in map(ExportMetricsServiceRequest.FromString, parts)
        for metric in part.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.histogram.data_points
    ]
    assert counts == [8] * 3000
