# SPDX-License-Identifier: Apache-2.0
"""
The delivery rule, explored: every history of a few cycles and a few faults, with the sidecar's own code.

MODEL_DEPTH=n adds n faults and n cycles to each history. `pytest -rP tests/model` prints how many states were
explored, and the traces to violations.
"""

import logging
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sidecar.counts import delta
from sidecar.model import MapIdentity, Temporality
from sidecar.otlp import points
from tests.model import edges
from tests.model.scenario import Scenario
from tests.model.variants import AcknowledgedFirst, Merging, Reckless, RefusedIsForgotten, WrittenAfter
from tests.model.world import run

DEPTH = int(os.environ.get("MODEL_DEPTH", "0"))
PLAIN, BASE, CUMULATIVE = Temporality.DELTA, Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE
LOST = ("response lost", "request lost")
REFUSED = ("refused", "refused after counting", "points refused")


@pytest.fixture(autouse=True)
def _edges(monkeypatch):
    """Let the sidecar's modules call the model instead of kernel, disk, network and clock."""
    for name, edge in edges.REPLACED.items():
        monkeypatch.setattr(name, edge)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def scenario(temporality, kinds, responses=(), *, faults, ticks=3, **options):
    return Scenario(
        temporality, frozenset(kinds.split()), tuple(responses), faults + DEPTH, ticks + DEPTH, **options
    )


def explored(what):
    result = run(what)
    sys.stdout.write(f"{what.temporality.value}, {what.ticks} cycles, {what.faults} faults: {result}\n")
    return result


# Removing the journal removes what was durable.
WIPED = {"durable_first": False}

# For each scenario: what may happen, the responses, how many faults, and further options.
EXACT = {
    "killed at every step": ("crash stop", (*LOST, "request late"), 3, {}),
    "disk and reads fail": ("crash disk read", ("request lost",), 2, {}),
    "Collector restarted": ("crash collector forget scrape", ("response lost", "request late"), 3, {}),
    "refused": ("collector", (*REFUSED, *LOST), 3, {}),
    "refused and killed": ("crash collector", REFUSED, 2, {"ticks": 4}),
    "failed over": ("crash failover collector", ("response lost", "request late"), 3, {}),
    "program reloaded": ("crash reload", ("request lost", "refused"), 3, {}),
    "program reloaded twice": ("idle_reload", ("response lost",), 5, {"ticks": 4}),
    "rolled back": ("crash reload roll_back", ("request lost",), 3, {}),
    "machine rebooted": ("crash reboot", ("request lost", "refused"), 3, {}),
    "map emptied": ("crash empty", LOST, 2, {}),
    "clock steps": ("crash clock_back clock_forward collector", ("response lost",), 3, {}),
    "journal lost": ("crash wipe clock_forward collector", ("response lost",), 3, WIPED),
    "two sources": ("crash read reload collector", ("refused",), 2, {"sources": 2}),
    "one cycle a process": ("crash reboot collector", ("request lost",), 2, {"once": True}),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_nothing_is_lost_or_doubled(temporality, name):
    """No history loses or doubles a packet beyond what docs/delivery.md says about that fault."""
    kinds, responses, faults, options = EXACT[name]

    result = explored(scenario(temporality, kinds, responses, faults=faults, **options))

    assert result.violation == "", result


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_a_batch_of_several_requests_is_one_batch(temporality, monkeypatch):
    """Each request may get another response."""
    monkeypatch.setattr("sidecar.otlp.message.LARGEST_REQUEST_BYTES", 1)

    result = explored(
        scenario(temporality, "crash collector", ("request lost", *REFUSED[:2]), faults=2, sources=2)
    )

    assert result.violation == "", result


IDLE = {
    "killed": ("crash idle", LOST, 3),
    "map emptied": ("crash idle empty", (), 2),
    "refused": ("idle", REFUSED, 3),
    "maps come and go": ("crash idle reload roll_back", ("request lost",), 3),
    "Collector restarted": ("crash idle collector forget scrape", ("response lost",), 3),
    "journal lost": ("crash idle wipe collector", (), 3),
}


@pytest.mark.parametrize("name", IDLE)
@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_omitting_idle_series_is_exact(temporality, name, monkeypatch):
    """Even if the Collector that had them was restarted."""
    monkeypatch.setattr("sidecar.counts.idle.OMIT_IDLE_FROM", 0)
    kinds, responses, faults = IDLE[name]
    options = WIPED if "wipe" in kinds else {}

    result = explored(scenario(temporality, kinds, responses, faults=faults, **options))

    assert result.violation == "", result


@pytest.mark.parametrize("kinds", ["crash disk reboot", "crash reload wipe"])
def test_a_record_that_continues_others_is_exact(kinds, monkeypatch):
    """As of a large map: only the first record of a file is complete."""
    monkeypatch.setattr("sidecar.sources.source.bpf_reader", SimpleNamespace(read=edges.read_in_columns))
    monkeypatch.setattr("sidecar.state.journal_format.COLUMNAR_FROM", 0)
    monkeypatch.setattr("sidecar.state.journal_blobs.LARGE", 1)
    monkeypatch.setattr("sidecar.state.journal.FILE_BYTES", 3 * edges.FILE_BYTES)
    options = WIPED if "wipe" in kinds else {}

    result = explored(scenario(BASE, kinds, ("response lost",), faults=2, **options))

    assert result.violation == "", result


def test_plain_delta_is_exact_while_the_collector_lives():
    """Whatever happens to the sidecar, the responses, the maps and the clock."""
    kinds = "crash stop reload clock_back"

    result = explored(scenario(PLAIN, kinds, LOST, faults=2))

    assert result.violation == "", result


@pytest.mark.parametrize("kinds", ["", "crash", "reload", "reboot", "collector"])
def test_plain_delta_loses_one_batch_however_many_refusals_follow(kinds):
    """A batch that may have been counted is never resent, nor are its counts."""
    result = explored(scenario(PLAIN, kinds, REFUSED[:2], faults=3, ticks=4))

    assert result.violation == "", result


def test_plain_delta_does_not_double_when_the_journal_is_lost():
    """A mark in bpffs tells a lost journal from a first start."""
    result = explored(scenario(PLAIN, "crash wipe", LOST, faults=3, **WIPED))

    assert result.violation == "", result


# The limits: each is a row of "Where exactness ends" in docs/delivery.md.


def test_finds_that_plain_delta_loses_when_the_collector_restarts():
    """Counts that were acknowledged but not scraped are gone."""
    result = explored(scenario(PLAIN, "collector scrape", faults=2))

    assert result.violation.startswith("lost: increase")
    assert "Collector restarted" in result.trace


def test_finds_that_a_loader_that_pins_the_new_map_first_may_lose():
    """Namely what the old program counts between a cycle that read the new pin and its replacement."""
    result = explored(scenario(BASE, "slow_reload", faults=1, ticks=4))

    assert result.violation.startswith("lost: increase")
    assert "new map pinned, its program not attached yet" in result.trace


@pytest.mark.parametrize(
    ("temporality", "kinds"),
    [(CUMULATIVE, "crash reload wipe"), (BASE, "crash reload wipe collector")],
    ids=["cumulative", "base-point"],
)
def test_finds_that_totals_of_earlier_maps_are_lost_with_the_journal(temporality, kinds):
    """The total falls to the value of the present map; Prometheus sees a reset and adds it again."""
    result = explored(scenario(temporality, kinds, faults=4, **WIPED))

    assert result.violation.startswith("doubled: increase")


def test_finds_that_a_lost_journal_and_a_clock_stepped_back_lose_together():
    """The Collector has later times than the sidecar, and drops points that look old."""
    result = explored(scenario(BASE, "crash wipe clock_back", faults=3, **WIPED))

    assert result.violation.startswith("lost")


def test_finds_that_a_scrape_between_base_point_and_delta_sees_too_little():
    """Within the microseconds in which a new Collector processes a batch that the last one had counted."""
    result = explored(scenario(BASE, "collector scrape_inside", ("response lost",), faults=3))

    assert result.violation.startswith("doubled: increase")


# Delivery rules that look correct: the explorer finds what they violate.


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_merging_an_attempted_batch_doubles(temporality):
    """The merged window overlaps the counted one, and both are added in full."""
    result = explored(scenario(temporality, "crash", LOST, faults=2, delivery=Merging))

    assert result.violation.startswith("doubled")
    assert any("response lost" in step for step in result.trace)


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_a_journal_written_after_sending_doubles(temporality):
    """A sidecar killed in between counts from the old baseline again."""
    result = explored(
        scenario(temporality, "crash", LOST, faults=2, delivery=WrittenAfter, durable_first=False)
    )

    assert result.violation.startswith("doubled")
    assert any("killed after acknowledged" in step for step in result.trace)


def test_finds_that_a_journal_written_after_sending_is_not_durable_first():
    """The invariant alone finds it, without a fault."""
    result = explored(scenario(BASE, "", faults=0, delivery=WrittenAfter))

    assert result.violation == "sent what is not durable"


def test_finds_that_a_mark_before_the_response_loses():
    """After a crash in between, a batch that never arrived counts as acknowledged."""
    result = explored(scenario(PLAIN, "crash", LOST, faults=2, delivery=AcknowledgedFirst))

    assert result.violation.startswith("lost")
    assert any("killed after" in step for step in result.trace)


@pytest.mark.parametrize(
    ("forgotten", "kind"), [({"map_id": 0}, "reload"), ({"boot_id": ""}, "reboot")], ids=["map id", "boot id"]
)
def test_finds_that_a_baseline_without_map_identity_is_wrong(forgotten, kind, monkeypatch):
    """A new map that counted more than the old one looks like the old one."""
    monkeypatch.setattr(
        "sidecar.sources.source.MapIdentity", lambda **given: MapIdentity(**{**given, **forgotten})
    )

    result = explored(scenario(BASE, kind, faults=1, growing=True))

    assert result.violation.startswith(("lost", "doubled"))


def test_finds_that_a_journal_that_is_not_flushed_is_not_durable(monkeypatch):
    """A rename may reach the disk before the file's content."""
    monkeypatch.setattr(edges.Os, "fsync", lambda *_: None)

    result = explored(scenario(BASE, "", faults=0))

    assert result.violation == "sent what is not durable"


def test_finds_that_a_window_that_follows_the_clock_back_is_wrong(monkeypatch):
    """The Collector drops it as known, but adds the base point of the next one."""

    def advance(baseline, snapshots, schema, **how):
        window = delta.advance(baseline, snapshots, schema, **how)
        end_ns = snapshots[-1].taken_ns
        streams = {
            attributes: stream._replace(end_ns=end_ns)
            for attributes, stream in window.baseline.streams.items()
        }
        following = replace(window.baseline, end_ns=end_ns, streams=streams)
        to_export = [series._replace(end_ns=end_ns) for series in window.to_export]
        return window._replace(to_export=to_export, baseline=following)

    monkeypatch.setattr("sidecar.pipeline.delta", SimpleNamespace(**{**vars(delta), "advance": advance}))

    result = explored(scenario(BASE, "clock_back", faults=1))

    assert result.violation.startswith(("lost", "doubled"))


@pytest.mark.parametrize(("kinds", "responses"), [("", ("points refused",)), ("failover", ())])
def test_finds_that_a_base_point_up_to_the_last_window_doubles(monkeypatch, kinds, responses):
    """A Collector that did not count that window adds the whole base point again."""

    def windows(series, _temporality):
        before = [total - count for total, count in zip(series.totals, series.counts, strict=True)]
        yield points.times(series.start_time_ns, series.start_ns), before
        yield points.times(series.start_ns, series.end_ns), series.counts

    # A list: the windows of a series are passed over once for each instrument.
    monkeypatch.setattr("sidecar.otlp.encode._windows", lambda *given: list(windows(*given)))

    result = explored(scenario(BASE, kinds, responses, faults=2))

    assert result.violation.startswith("doubled")


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_resending_the_counts_of_a_refused_batch_doubles(temporality):
    """A refusal does not mean that nothing was counted."""
    result = explored(
        scenario(temporality, "", ("refused after counting",), faults=1, delivery=RefusedIsForgotten)
    )

    assert result.violation.startswith("doubled")


def test_finds_that_giving_up_batch_after_batch_loses():
    """Without probes every batch in an hour of refusals is lost."""
    result = explored(scenario(PLAIN, "", ("refused",), faults=2, delivery=Reckless))

    assert result.violation.startswith("lost")


def test_finds_that_forgetting_a_map_that_is_still_held_doubles(monkeypatch):
    """It is read as an unknown map and counted from zero."""

    def advance(baseline, snapshots, schema, **how):
        window = delta.advance(baseline, snapshots, schema, **how)
        newest_two = dict(list(window.baseline.maps.items())[-2:])
        return window._replace(baseline=replace(window.baseline, maps=newest_two))

    monkeypatch.setattr("sidecar.pipeline.delta", SimpleNamespace(**{**vars(delta), "advance": advance}))

    result = explored(scenario(BASE, "reload", ("response lost",), faults=4))

    assert result.violation.startswith("doubled")
