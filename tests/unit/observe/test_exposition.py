# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sidecar.model import Series
from sidecar.observe.exposition import exposition
from sidecar.observe.telemetry import OUTCOMES, READ_ERRORS, STAGES, Telemetry
from tests.packet_counter import SCHEMA


def samples(text):
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
    seen = samples(exposition(Telemetry().families(), ()))

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
    seen = samples(exposition((), [(SCHEMA, [series(name, *range(8))])]))

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
                [replace(series(None, *range(8)), attributes=attributes)],
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
    seen = samples(exposition(telemetry.families(), ()))

    assert seen["xdp_xdp_otel_stage_runs_total", (("stage", "read"),)] == 1
    assert seen["xdp_xdp_otel_batches_total", (("outcome", "retry"),)] == 2
    labels = (("id", "41"), ("map", "stats_map"), ("source", "name:stats_map"), ("type", "ARRAY"))
    assert seen["xdp_xdp_otel_map_info", labels] == 1
