# SPDX-License-Identifier: Apache-2.0
"""
The delivery rule, explored: every history of a few cycles and a few faults, with the sidecar's own code.

MODEL_DEPTH=n adds n faults and n cycles to each history. `pytest -rP tests/model` prints how much was met,
and the traces that were found.
"""

import logging
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sidecar.counts import delta
from sidecar.model import MapIdentity, Temporality
from tests.model import edges
from tests.model.scenario import Scenario
from tests.model.variants import AcknowledgedFirst, Merging, Reckless, RefusedIsForgotten, WrittenAfter
from tests.model.world import run

DEPTH = int(os.environ.get("MODEL_DEPTH", "0"))
PLAIN, BASE, CUMULATIVE = Temporality.DELTA, Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE
LOST = ("answer lost", "request lost")
REFUSED = ("refused", "refused after counting", "points refused")


@pytest.fixture(autouse=True)
def _edges(monkeypatch):
    """The sidecar's own modules call the model instead of kernel, disk, network and clock."""
    for name, edge in edges.REPLACED.items():
        monkeypatch.setattr(name, edge)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def scenario(temporality, kinds, answers=(), *, faults, ticks=3, **options):
    happens = frozenset(kinds.split())
    return Scenario(temporality, happens, tuple(answers), faults + DEPTH, ticks + DEPTH, **options)


def explored(one):
    found = run(one)
    sys.stdout.write(f"{one.temporality.value}, {one.ticks} cycles, {one.faults} faults: {found}\n")
    return found


# Who takes the journal away takes away what was durable.
WIPED = {"durable_first": False}

# For each: what may happen, what may become of a request, how many faults, and the rest.
EXACT = {
    "killed at every step": ("crash stop", (*LOST, "request late"), 3, {}),
    "disk and reads fail": ("crash disk read", ("request lost",), 2, {}),
    "Collector restarted": ("crash collector forget scrape", ("answer lost", "request late"), 3, {}),
    "refused": ("collector", (*REFUSED, *LOST), 3, {}),
    "refused and killed": ("crash collector", REFUSED, 2, {"ticks": 4}),
    "failed over": ("crash failover collector", ("answer lost", "request late"), 3, {}),
    "program reloaded": ("crash reload", ("request lost", "refused"), 3, {}),
    "program reloaded twice": ("quiet_reload", ("answer lost",), 5, {"ticks": 4}),
    "rolled back": ("crash reload roll_back", ("request lost",), 3, {}),
    "machine rebooted": ("crash reboot", ("request lost", "refused"), 3, {}),
    "map emptied": ("crash empty", LOST, 2, {}),
    "clock steps": ("crash clock_back clock_forward collector", ("answer lost",), 3, {}),
    "journal lost": ("crash wipe clock_forward collector", ("answer lost",), 3, WIPED),
    "two sources": ("crash read reload collector", ("refused",), 2, {"sources": 2}),
    "one cycle a process": ("crash reboot collector", ("request lost",), 2, {"once": True}),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_nothing_is_lost_or_doubled(temporality, name):
    """No history loses or doubles a packet, but for what docs/delivery.md says of that fault."""
    kinds, answers, faults, options = EXACT[name]

    found = explored(scenario(temporality, kinds, answers, faults=faults, **options))

    assert found.wrong == "", found


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_a_batch_of_several_requests_is_one_batch(temporality, monkeypatch):
    """Each request may meet another fate."""
    monkeypatch.setattr("sidecar.otlp.message.LARGEST_REQUEST_BYTES", 1)

    found = explored(
        scenario(temporality, "crash collector", ("request lost", *REFUSED[:2]), faults=2, sources=2)
    )

    assert found.wrong == "", found


QUIET = {
    "killed": ("crash quiet", LOST, 3),
    "map emptied": ("crash quiet empty", (), 2),
    "refused": ("quiet", REFUSED, 3),
    "maps come and go": ("crash quiet reload roll_back", ("request lost",), 3),
    "Collector restarted": ("crash quiet collector forget scrape", ("answer lost",), 3),
    "journal lost": ("crash quiet wipe collector", (), 3),
}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE], ids=["base-point", "cumulative"])
def test_a_series_that_is_left_out_while_it_counts_nothing_is_exact(temporality, name, monkeypatch):
    """Also if the Collector that knew it is not there any more."""
    monkeypatch.setattr("sidecar.counts.idle.OMIT_IDLE_FROM", 0)
    kinds, answers, faults = QUIET[name]
    options = WIPED if "wipe" in kinds else {}

    found = explored(scenario(temporality, kinds, answers, faults=faults, **options))

    assert found.wrong == "", found


def test_plain_delta_is_exact_while_the_collector_lives():
    """Whatever happens to the sidecar, its answers, its maps and the clock."""
    kinds = "crash stop reload clock_back"

    found = explored(scenario(PLAIN, kinds, LOST, faults=2))

    assert found.wrong == "", found


@pytest.mark.parametrize("kinds", ["", "crash", "reload", "reboot", "collector"])
def test_plain_delta_loses_one_batch_by_refusals_however_many(kinds):
    """And none that may have been counted is sent again, nor its counts."""
    found = explored(scenario(PLAIN, kinds, REFUSED[:2], faults=3, ticks=4))

    assert found.wrong == "", found


def test_plain_delta_does_not_double_when_the_journal_is_lost():
    """A mark in bpffs tells a lost journal from a first start."""
    found = explored(scenario(PLAIN, "crash wipe", LOST, faults=3, **WIPED))

    assert found.wrong == "", found


# What cannot be had. Each of these is a row of "Where exactness ends" in docs/delivery.md.


def test_finds_that_plain_delta_loses_when_the_collector_restarts():
    """What was acknowledged but not scraped is gone."""
    found = explored(scenario(PLAIN, "collector scrape", faults=2))

    assert found.wrong.startswith("lost: increase")
    assert "Collector restarted" in found.trace


def test_finds_that_a_loader_that_pins_the_new_map_first_may_lose():
    """What the old program counts after a cycle that saw the new pin, until its successor is attached."""
    found = explored(scenario(BASE, "slow_reload", faults=1, ticks=4))

    assert found.wrong.startswith("lost: increase")
    assert "new map pinned, its program not attached yet" in found.trace


@pytest.mark.parametrize(
    ("temporality", "kinds"),
    [(CUMULATIVE, "crash reload wipe"), (BASE, "crash reload wipe collector")],
    ids=["cumulative", "base-point"],
)
def test_finds_that_totals_of_earlier_maps_are_lost_with_the_journal(temporality, kinds):
    """The total falls back to what the present map holds; Prometheus sees a reset and adds it again."""
    found = explored(scenario(temporality, kinds, faults=4, **WIPED))

    assert found.wrong.startswith("doubled: increase")


def test_finds_that_a_lost_journal_and_a_clock_stepped_back_lose_together():
    """Nobody knows any more that the Collector has seen later times, and it drops what seems old."""
    found = explored(scenario(BASE, "crash wipe clock_back", faults=3, **WIPED))

    assert found.wrong.startswith("lost")


def test_finds_that_a_scrape_between_base_point_and_delta_sees_too_little():
    """For the microseconds in which a new Collector takes a batch that was counted by the last one."""
    found = explored(scenario(BASE, "collector scrape_inside", ("answer lost",), faults=3))

    assert found.wrong.startswith("doubled: increase")


# Rules that look as good as ours: what the explorer says of them.


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_merging_an_attempted_batch_doubles(temporality):
    """Its window overlaps the one that was counted, and both are added in full."""
    found = explored(scenario(temporality, "crash", LOST, faults=2, delivery=Merging))

    assert found.wrong.startswith("doubled")
    assert any("answer lost" in step for step in found.trace)


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_a_journal_written_after_sending_doubles(temporality):
    """Killed in between, the sidecar counts from the old baseline again."""
    found = explored(
        scenario(temporality, "crash", LOST, faults=2, delivery=WrittenAfter, durable_first=False)
    )

    assert found.wrong.startswith("doubled")
    assert any("killed after answered" in step for step in found.trace)


def test_finds_that_a_journal_written_after_sending_is_not_durable_first():
    """The invariant alone is enough to find it."""
    found = explored(scenario(BASE, "", faults=0, delivery=WrittenAfter))

    assert found.wrong == "sent what is not durable"


def test_finds_that_a_mark_before_the_answer_loses():
    """Killed in between, the sidecar takes for acknowledged what never arrived."""
    found = explored(scenario(PLAIN, "crash", LOST, faults=2, delivery=AcknowledgedFirst))

    assert found.wrong.startswith("lost")
    assert any("killed after" in step for step in found.trace)


@pytest.mark.parametrize(
    ("forgotten", "kind"), [({"map_id": 0}, "reload"), ({"boot_id": ""}, "reboot")], ids=["map id", "boot id"]
)
def test_finds_that_a_baseline_without_map_identity_is_wrong(forgotten, kind, monkeypatch):
    """A new map that has counted more than the old one had looks like the old one."""
    monkeypatch.setattr(
        "sidecar.sources.source.MapIdentity", lambda **given: MapIdentity(**{**given, **forgotten})
    )

    found = explored(scenario(BASE, kind, faults=1, growing=True))

    assert found.wrong.startswith(("lost", "doubled"))


def test_finds_that_a_journal_that_is_not_flushed_is_not_durable(monkeypatch):
    """A rename may be on the disk before what it names."""
    monkeypatch.setattr(edges.Os, "fsync", lambda *_: None)

    found = explored(scenario(BASE, "", faults=0))

    assert found.wrong == "sent what is not durable"


def test_finds_that_a_window_that_follows_the_clock_back_is_wrong(monkeypatch):
    """The Collector drops it as known, and the base point of the next one is new to it."""

    def advance(baseline, snapshots, schema, **how):
        step = delta.advance(baseline, snapshots, schema, **how)
        end_ns = snapshots[-1].taken_ns
        accounts = {one: replace(account, end_ns=end_ns) for one, account in step.baseline.streams.items()}
        following = replace(step.baseline, end_ns=end_ns, streams=accounts)
        return replace(
            step, to_export=[replace(one, end_ns=end_ns) for one in step.to_export], baseline=following
        )

    monkeypatch.setattr("sidecar.pipeline.delta", SimpleNamespace(**{**vars(delta), "advance": advance}))

    found = explored(scenario(BASE, "clock_back", faults=1))

    assert found.wrong.startswith(("lost", "doubled"))


@pytest.mark.parametrize(("kinds", "answers"), [("", ("points refused",)), ("failover", ())])
def test_finds_that_a_base_point_up_to_the_last_window_doubles(monkeypatch, kinds, answers):
    """A Collector that did not count that window takes the base point for news, and adds it all again."""

    def points(one, at, _temporality):
        yield one.start_time_ns, one.start_ns, one.totals[at] - one.counts[at]
        yield one.start_ns, one.end_ns, one.counts[at]

    monkeypatch.setattr("sidecar.otlp.encode._windows", points)

    found = explored(scenario(BASE, kinds, answers, faults=2))

    assert found.wrong.startswith("doubled")


@pytest.mark.parametrize("temporality", [PLAIN, BASE], ids=["delta", "base-point"])
def test_finds_that_a_refused_batch_whose_counts_go_out_again_doubles(temporality):
    """A refusal does not say that nothing was counted."""
    found = explored(
        scenario(temporality, "", ("refused after counting",), faults=1, delivery=RefusedIsForgotten)
    )

    assert found.wrong.startswith("doubled")


def test_finds_that_giving_up_batch_after_batch_loses():
    """Without a probe each batch of a refusing hour is lost."""
    found = explored(scenario(PLAIN, "", ("refused",), faults=2, delivery=Reckless))

    assert found.wrong.startswith("lost")


def test_finds_that_a_map_forgotten_while_it_is_held_doubles(monkeypatch):
    """It is read, found to be unknown, and counted from zero."""

    def advance(baseline, snapshots, schema, **how):
        step = delta.advance(baseline, snapshots, schema, **how)
        two = dict(list(step.baseline.maps.items())[-2:])
        return replace(step, baseline=replace(step.baseline, maps=two))

    monkeypatch.setattr("sidecar.pipeline.delta", SimpleNamespace(**{**vars(delta), "advance": advance}))

    found = explored(scenario(BASE, "reload", ("answer lost",), faults=4))

    assert found.wrong.startswith("doubled")
