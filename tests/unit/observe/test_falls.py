# SPDX-License-Identifier: Apache-2.0
"""What the log says of counters that went back: the line that a user sees, with the remedy to paste."""

import pytest

from sidecar.counts.window import NextWindow
from sidecar.describe.file import metrics, yaml_nodes
from sidecar.kinds import Kind
from sidecar.model import Fall, Field, Layout
from sidecar.observe.falls import Falls
from sidecar.schema import Instrument, Schema


def schema(*fields):
    instruments = tuple(Instrument(f"flows.{one.name}", "1", "", one.name) for one in fields)
    return Schema("flows", Layout(64, fields), instruments, lambda _key: ())


PACKETS, MEAN, LEFT = Field("packets", 0), Field("iat_mean", 64), Field("on", 128, 32)
ALL = schema(PACKETS, MEAN, LEFT)


def fell(*falls):
    return NextWindow((), (), None, fallen=len(falls), falls=falls)


def emptied(count):
    return NextWindow((), (), None, emptied=tuple(bytes([number]) for number in range(count)))


@pytest.fixture
def said(caplog):
    return lambda: [one.getMessage() for one in caplog.records]


def test_a_field_that_fell_alone_is_named_with_the_line_to_write(said):
    """From, to, where, and what to do."""
    Falls().log("flows", ALL, fell(Fall("iat_mean", b"\1\0", 999_000, 998_990)))

    assert said() == [
        "flows: iat_mean fell from 999000 to 998990 (key 0x0100) while other fields did not: it is no "
        "counter; its fall is not counted: write {name: flows.iat_mean, field: iat_mean, kind: gauge} "
        "under metrics:"
    ]


def test_a_narrow_field_may_be_a_counter_that_is_read_too_seldom(said):
    """The line says so, and quotes what YAML would take for something else."""
    Falls().log("flows", ALL, fell(Fall("on", b"\1", 21_600, 21_590)))

    assert said() == [
        "flows: on fell from 21600 to 21590 (key 0x01) while other fields did not: it is no counter, or "
        "grows by half the range of its 32 bits between two readings; its fall is not counted: "
        'write {name: flows.on, field: "on", kind: gauge} under metrics:'
    ]


def test_the_line_to_write_can_be_read(said, tmp_path):
    """As it stands, under `metrics:`."""
    Falls().log("flows", ALL, fell(Fall("on", b"\1", 2, 1)))
    line = said()[0].partition("write ")[2].removesuffix(" under metrics:")
    (tmp_path / "config.yaml").write_text(f"metrics:\n  - {line}\n")
    (read,) = metrics.metrics(yaml_nodes.read(tmp_path / "config.yaml").mapping("it", ("metrics",)))

    assert (read.name, read.field, read.kind) == ("flows.on", "on", Kind.GAUGE)


def test_each_field_of_each_source_is_named_once(said):
    """It falls in every cycle."""
    falls = Falls()
    for _ in range(3):
        falls.log("flows", ALL, fell(Fall("iat_mean", b"", 2, 1), Fall("on", b"", 2, 1)))
        falls.log("others", ALL, fell(Fall("iat_mean", b"", 2, 1)))

    assert [one.partition(" fell")[0] for one in said()] == [
        "flows: iat_mean",
        "flows: on",
        "others: iat_mean",
    ]


def test_a_field_that_is_not_read_any_more_is_not_named(said):
    """It was of a map that was read a last time, before the configuration changed."""
    Falls().log("flows", schema(PACKETS), fell(Fall("iat_mean", b"", 2, 1)))

    assert said() == []


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "entry 0x00 went back"), (7, "entries 0x00, 0x01, 0x02, 0x03, 0x04 and 2 more went back")],
)
def test_emptied_entries_are_one_line_however_many(said, count, expected):
    """A map of a hundred thousand keys that is emptied does not fill the log."""
    Falls().log("flows", ALL, emptied(count))

    assert said() == [f"flows: {expected}: somebody emptied the map"]


def test_the_only_counter_of_a_map_may_be_none(said):
    """No other field says whether the entry was emptied, so the line says once what to write if not."""
    falls = Falls()
    for _ in range(2):
        falls.log("flows", schema(MEAN), emptied(1))

    line = "flows: entry 0x00 went back: somebody emptied the map"
    advice = (
        "; or iat_mean is no counter: then write {name: flows.iat_mean, field: iat_mean, kind: gauge} "
        "under metrics:"
    )
    assert said() == [line + advice, line]
