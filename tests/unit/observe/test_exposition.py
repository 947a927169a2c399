# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sidecar.attributes import encode_attributes
from sidecar.counts.columns import EncodedAttributes, SeriesTable
from sidecar.histogram import Histogram
from sidecar.kinds import Kind
from sidecar.model import Field, Layout, Series
from sidecar.observe import columns_labels, samples, series_labels
from sidecar.observe.exposition import Exposition, exposition
from sidecar.observe.telemetry import OUTCOMES, READ_ERRORS, STAGES, Telemetry
from sidecar.scale import Scale
from sidecar.schema import Instrument, Schema
from tests import plain_exposition
from tests.packet_counter import SCHEMA


def parsed(text):
    """Return every sample as prometheus_client reads it, which appends `_total`: (name, labels) to value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(interface, *totals):
    attributes = (("network.interface.name", interface),) if interface is not None else ()
    return Series(attributes, 1, 2, 2, 3, totals, totals)


def test_every_label_value_exists_from_the_start_at_zero():
    """A rate over any outcome, stage or kind is right from its first increment."""
    seen = parsed(exposition(Telemetry().families(), ()))

    for outcome in OUTCOMES:
        assert seen["xdp_xdp_otel_batches_total", (("outcome", outcome),)] == 0
    for stage in STAGES:
        assert seen["xdp_xdp_otel_stage_runs_total", (("stage", stage),)] == 0
    for kind in READ_ERRORS.values():
        assert seen["xdp_xdp_otel_read_errors_total", (("kind", kind),)] == 0


def test_counters_have_the_collectors_names():
    """A dashboard works with either way of scraping."""
    text = exposition((), [(SCHEMA, [series("eth0", *range(10, 18))])])

    assert 'xdp_xdp_packets_total{network_interface_name="eth0"} 10\n' in text
    assert 'xdp_xdp_bytes_total{network_interface_name="eth0"} 11\n' in text
    assert 'xdp_xdp_packets_ipv6{network_interface_name="eth0"} 17\n' in text
    assert "# TYPE xdp_xdp_packets_tcp counter\n" in text


def test_counters_are_exact_past_two_to_the_53():
    """A counter is written as the integer it is."""
    text = exposition((), [(SCHEMA, [series(None, *[2**63 - 1] * 8)])])

    assert "xdp_xdp_packets_total 9223372036854775807\n" in text


@given(st.text())
def test_any_label_value_round_trips(name):
    """The parser reads back whatever a name contains, quotes and newlines included."""
    seen = parsed(exposition((), [(SCHEMA, [series(name, *range(8))])]))

    assert seen["xdp_xdp_packets_total", (("network_interface_name", name),)] == 0


def test_labels_and_texts_are_written_as_the_collector_writes_them():
    """`true` in lower case, no leading digit, no newline within a description."""
    instrument = replace(SCHEMA.instruments[0], description="Two\nlines \\ of it.")
    attributes = (("otel.metric.overflow", True), ("9.tier", 1))
    text = exposition(
        (),
        [
            (
                replace(SCHEMA, instruments=(instrument,)),
                [series(None, *range(8))._replace(attributes=attributes)],
            )
        ],
        resource=(("host.name", "node-1"), ("日", "x"), ("host_name", "node-2")),
    )

    assert 'xdp_xdp_packets_total{otel_metric_overflow="true",key_9_tier="1"} 0\n' in text
    assert "# HELP xdp_xdp_packets_total Two\\nlines \\\\ of it.\n" in text
    assert 'xdp_target_info{host_name="node-2"} 1\n' in text


def test_stages_errors_and_outcomes_are_exported():
    """Each under its own labels."""
    telemetry = Telemetry()
    with telemetry.stage("read"):
        pass
    telemetry.batches["retry"] += 2
    telemetry.maps = lambda: {"name:stats_map": ("stats_map", 41, "ARRAY")}
    seen = parsed(exposition(telemetry.families(), ()))

    assert seen["xdp_xdp_otel_stage_runs_total", (("stage", "read"),)] == 1
    assert seen["xdp_xdp_otel_batches_total", (("outcome", "retry"),)] == 2
    labels = (("id", "41"), ("map", "stats_map"), ("source", "name:stats_map"), ("type", "ARRAY"))
    assert seen["xdp_xdp_otel_map_info", labels] == 1


NUMBERS = ("packets", "level", "share", "bytes")
METRICS = Schema(
    "all kinds",
    Layout(32, tuple(Field(name, 64 * at, signed=name == "level") for at, name in enumerate(NUMBERS))),
    (
        Instrument("packets", "1", "", "packets"),
        Instrument("by.way", "1", "", "packets", attributes=(("way", "in%d"),)),
        Instrument("by.way", "1", "", "bytes", attributes=(("way", "out"), ("a", 1))),
        Instrument("level", "1", "", "level", Kind.UPDOWNCOUNTER),
        Instrument("held", "1", "", "level", Kind.GAUGE),
        Instrument("speed", "1", "", "bytes", Kind.RATE),
        Instrument("seconds", "s", "", "share", scale=Scale(1, 10**9)),
        *(
            Instrument(
                f"size{len(sums)}",
                "By",
                "",
                "packets",
                Kind.HISTOGRAM,
                attributes=own,
                histogram=Histogram(NUMBERS[:3], (1.0, 2.5), sums),
            )
            for sums, own in (((), ()), (("bytes",), ()), (("bytes", "share"), (("way", "in"),)))
        ),
    ),
    lambda _key: (),
)
NAMES = st.sampled_from(["a", "b", "a.b", "a_b", "", "9", "ü", "way", "long" * 40])
VALUES = st.one_of(
    st.booleans(),
    st.sampled_from(["", "x", 'a "', "\\", "\n", "\0", "\xff", "ü€😀", "y" * 125, "z" * 300, 'way="', 'a="']),
    st.sampled_from([0, 9, 10, 127, 128, 65535, 2**63 - 1, -1, -(2**63)]),
    st.text(max_size=5),
)
KEYS = st.lists(NAMES, max_size=3, unique=True)
TOTALS = st.tuples(*[st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 99)] * 4)


@st.composite
def many_series(draw):
    """Draw series that differ in their attributes: most in the values only."""
    usual = draw(KEYS)
    attributes = draw(
        st.lists(
            (st.just(usual) | st.just(usual) | KEYS).flatmap(
                lambda keys: st.tuples(*[st.tuples(st.just(key), VALUES) for key in keys])
            ),
            max_size=12,
            unique_by=encode_attributes,
        )
    )
    return [
        Series(each, 1, draw(st.booleans()), 2, 3, *(draw(TOTALS) for _ in range(3)), 10**9)
        for each in attributes
    ]


def in_columns(series, order):
    """The same series as a table; *order* is that of the names."""
    rows = {at: row for row, at in enumerate(order)}

    def columns(name):
        return np.array([getattr(each, name) for each in series], np.uint64).reshape(-1, 4).T

    return SeriesTable(
        EncodedAttributes.of(encode_attributes(series[at].attributes) for at in order),
        np.array([rows[at] for at in range(len(series))], np.int64),
        1,
        3,
        np.array([each.is_new for each in series], np.bool_),
        np.full(len(series), 2, np.uint64),
        columns("counts"),
        columns("totals"),
        columns("values"),
        10**9,
    )


def series_of(*attributes):
    return [Series(each, 1, False, 2, 3, *[(1, 2, 3, 4)] * 3, 10**9) for each in attributes]


@given(
    many_series(),
    st.randoms(use_true_random=False),
    st.sampled_from([1, 3, 100]),
    st.sampled_from([0, 9, 999]),
)
@example(series_of((("a", "x"),), (("a", "x" * 200),), (("a", "y"),)), None, 100, 999)
@example(series_of((), (("a", 'way="'),)), None, 100, 0)
def test_a_page_of_many_series_is_that_of_the_plain_formatter(series, chance, few, room):
    """In columns or not, whatever the attributes and the numbers, and however much is rendered at once."""
    order = list(range(len(series)))
    if chance:
        chance.shuffle(order)
    pages = Exposition()
    pages._room.left = room
    expected = plain_exposition.page([(METRICS, series)])
    with patch.multiple(samples, _LINES_PER_PIECE=4 * few), patch.multiple(series_labels, BLOCK=few):
        for given_as in (series, in_columns(series, order)):
            assert b"".join(pages.page((), [(METRICS, given_as)])).decode() == expected

    assert pages._room.left == room


def test_alike_series_are_rendered_all_at_once():
    """Only those at the end of the bytes, and those with a value that is hard, are rendered one by one."""
    attributes = [
        (("source.address", f"10.0.{at >> 8}.{at & 255}"), ("port", at), ("drop", at % 2 == 1))
        for at in range(3000)
    ]
    attributes[5] = (("source.address", 'a "quoted" one'), ("port", -1), ("drop", True))
    table = in_columns(series_of(*attributes), range(3000))
    with patch.object(columns_labels, "labels", wraps=columns_labels.labels) as one_by_one:
        page = exposition((), [(METRICS, table)])

    assert one_by_one.call_count <= 8
    assert page == plain_exposition.page([(METRICS, [*table])])
