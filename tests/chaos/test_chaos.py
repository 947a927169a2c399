# SPDX-License-Identifier: Apache-2.0
"""A short chaos run over some scenarios, and tests that the ledger detects wrong counts."""

import pytest

from chaos import ledger
from chaos.counters import ZERO, increase
from chaos.ledger import Row
from chaos.run import play
from chaos.scenarios import SCENARIOS

SEED = 20261122
SECONDS = 40.0
SHORT = (
    "sidecar-kill",
    "kill-points",
    "answers-lost",
    "collector-kill",
    "no-collector",
    "refusals",
    "program-reload",
    "reboot",
    "fleet",
)


@pytest.mark.parametrize("name", SHORT)
def test_counts_are_exact_or_within_the_bound(name, tmp_path):
    """After the faults, Prometheus shows what the kernel counted, or less within the documented bound."""
    rows = play(name, tmp_path, seed=SEED, seconds=SECONDS)

    assert [] == [complaint for row in rows for complaint in row.complaints()], "\n".join(
        [ledger.header(), *(ledger.line(row, colours=False) for row in rows)]
    )


def counts(packets, size):
    return {**ZERO, "total_packets": packets, "total_bytes": size}


def row(kernel, shown, bound=ZERO, **more):
    return Row("a scenario", kernel, shown, "increase", bound, **more)


def test_a_row_of_equal_counts_is_fine():
    """Equal counts give no complaint."""
    assert [] == row(counts(10, 600), counts(10, 600)).complaints()


@pytest.mark.parametrize("shown", [counts(9, 600), counts(11, 600), counts(10, 599), counts(10, 601)])
def test_a_row_that_differs_by_one_is_wrong(shown):
    """Without a bound, one packet or byte more or less is reported."""
    assert row(counts(10, 600), shown).complaints()


def test_a_loss_within_its_bound_is_fine_and_one_more_is_not():
    """The bound is exact."""
    assert [] == row(counts(10, 600), counts(7, 600), counts(3, 0)).complaints()
    assert ["beyond the bound: total_packets -4"] == row(
        counts(10, 600), counts(6, 600), counts(3, 0)
    ).complaints()


def test_an_overcount_is_wrong_with_any_bound():
    """A bound allows for less, never for more."""
    assert ["beyond the bound: total_packets +1"] == row(
        counts(10, 600), counts(11, 600), counts(10, 600)
    ).complaints()


def test_a_row_without_traffic_is_wrong():
    """A scenario that counted nothing proves nothing."""
    assert ["no packet was counted"] == row(ZERO, ZERO).complaints()


@pytest.mark.parametrize(
    ("samples", "grown"),
    [([], 0), ([7], 7), ([0, 7, 7, 9], 9), ([7, 9, 2, 5], 14), ([7, 7, 0, 0, 3], 10)],
)
def test_increase_handles_resets_as_promql_does(samples, grown):
    """A counter that decreases restarted at 0; nothing is extrapolated."""
    assert grown == increase(samples)


def test_a_scenario_that_fails_to_run_is_in_the_ledger(tmp_path, monkeypatch):
    """Its row has the error."""

    def fails(stage):
        stage.collector.kill()
        stage.collector.command = ["/nonexistent"]
        stage.collector.start(timeout_s=5)

    monkeypatch.setitem(SCENARIOS, "fails", fails)
    (only,) = play("fails", tmp_path, seed=SEED)

    assert "could not go on: " in "".join(only.complaints())
