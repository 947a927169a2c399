# SPDX-License-Identifier: Apache-2.0
"""The log lines about counters that decreased, with the remedy to paste."""

import pytest

from sidecar.counts.window import NextWindow
from sidecar.describe.file import metrics, yaml_nodes
from sidecar.errors import Collector
from sidecar.kinds import Kind
from sidecar.log_fields import text_of
from sidecar.model import Fall, Field, Layout
from sidecar.observe.falls import Falls
from sidecar.schema import Instrument, Schema


def schema(*fields):
    instruments = tuple(Instrument(f"flows.{field.name}", "1", "", field.name) for field in fields)
    return Schema("flows", Layout(64, fields), instruments, lambda _key: ())


PACKETS, MEAN, LEFT = Field("packets", 0), Field("iat_mean", 64), Field("on", 128, 32)
ALL = schema(PACKETS, MEAN, LEFT)


def fell(*falls):
    return NextWindow((), (), None, fallen=len(falls), falls=falls)


def emptied(count):
    return NextWindow((), (), None, emptied=tuple(bytes([number]) for number in range(count)))


@pytest.fixture
def logged(caplog):
    return lambda: [text_of(record) for record in caplog.records]


def test_a_field_that_fell_alone_is_named_with_the_line_to_add(logged):
    """From, to, where, and what to do."""
    Falls().log("flows", ALL, fell(Fall("iat_mean", b"\1\0", 999_000, 998_990)))

    assert logged() == [
        "flows: iat_mean fell from 999000 to 998990 (key 0x0100) while other fields did not: it is not "
        "a counter; the fall is not counted: write {name: flows.iat_mean, field: iat_mean, kind: gauge} "
        "under metrics:"
    ]


def test_a_narrow_field_may_be_a_counter_that_is_read_too_rarely(logged):
    """The line says so, and quotes what YAML would read as something else."""
    Falls().log("flows", ALL, fell(Fall("on", b"\1", 21_600, 21_590)))

    assert logged() == [
        "flows: on fell from 21600 to 21590 (key 0x01) while other fields did not: it is not a counter, or "
        "grows by half the range of its 32 bits between two readings; the fall is not counted: "
        'write {name: flows.on, field: "on", kind: gauge} under metrics:'
    ]


def test_the_line_to_add_is_valid_configuration(logged, tmp_path):
    """As it stands, under `metrics:`."""
    Falls().log("flows", ALL, fell(Fall("on", b"\1", 2, 1)))
    line = logged()[0].partition("write ")[2].removesuffix(" under metrics:")
    (tmp_path / "config.yaml").write_text(f"metrics:\n  - {line}\n")
    config = yaml_nodes.read(tmp_path / "config.yaml").mapping("it", Collector(), ("metrics",))
    (read,) = metrics.metrics(config["metrics"])

    assert (read.name, read.field, read.kind) == ("flows.on", "on", Kind.GAUGE)


def test_each_field_of_each_source_is_named_once(logged):
    """It falls in every cycle."""
    falls = Falls()
    for _ in range(3):
        falls.log("flows", ALL, fell(Fall("iat_mean", b"", 2, 1), Fall("on", b"", 2, 1)))
        falls.log("others", ALL, fell(Fall("iat_mean", b"", 2, 1)))

    assert [line.partition(" fell")[0] for line in logged()] == [
        "flows: iat_mean",
        "flows: on",
        "others: iat_mean",
    ]


def test_a_field_that_is_no_longer_read_is_not_named(logged):
    """It was in the last reading of a map, before the configuration changed."""
    Falls().log("flows", schema(PACKETS), fell(Fall("iat_mean", b"", 2, 1)))

    assert logged() == []


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "entry 0x00 was reset"), (7, "entries 0x00, 0x01, 0x02, 0x03, 0x04 and 2 more were reset")],
)
def test_any_number_of_reset_entries_is_one_line(logged, count, expected):
    """Emptying a map of a hundred thousand keys does not flood the log."""
    Falls().log("flows", ALL, emptied(count))

    assert logged() == [f"flows: {expected}: another process wrote to the map"]


def test_the_only_counter_of_a_map_may_not_be_one(logged):
    """No other field confirms that the entry was reset, so the line says once what to add otherwise."""
    minutes = iter(range(0, 6000, 60))
    falls = Falls(lambda: next(minutes))
    for _ in range(2):
        falls.log("flows", schema(MEAN), emptied(1))

    line = "flows: entry 0x00 was reset: another process wrote to the map"
    advice = (
        "; if iat_mean is not a counter, write {name: flows.iat_mean, field: iat_mean, kind: gauge} "
        "under metrics:"
    )
    still = line.replace("flows: ", "flows: still (60 s, 2 tries): ")
    assert logged() == [line + advice, still]
