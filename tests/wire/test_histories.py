# SPDX-License-Identifier: Apache-2.0
"""Histories of all that can go wrong, drawn in bursts; `make explore` draws on where `make test` ends."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Temporality
from tests.examples import examples
from tests.packet_counter import FIELDS, SUMS
from tests.wire.books import windows
from tests.wire.histories import (
    CLOCK,
    FOUND_WITH_RELOADS,
    HARMLESS,
    KILLS,
    REFUSALS,
    Act,
    histories,
    including,
    played,
)

TOO_LARGE = [Act.TOO_LARGE, Act.TOO_LARGE_BUT_TAKEN]
BASE, CUMULATIVE = Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE


@pytest.mark.parametrize("temporality", Temporality)
@given(history=histories(*HARMLESS, *CLOCK, bursts_of=KILLS))
@examples(30)
def test_whatever_fails_every_packet_is_counted_once(new_collector, temporality, history):
    """Answers lost or late, calls refused, disk gone, clock set, process killed at any step, power cut."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *CLOCK, *KILLS, bursts_of=[Act.COLLECTOR_FORGETS]))
@examples(20)
def test_whatever_fails_and_whatever_is_forgotten_every_packet_is_counted_once(
    new_collector, temporality, history
):
    """The Collector, too, may lose its state at any time."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(history=histories(*HARMLESS, *CLOCK, bursts_of=[Act.RELOAD]), restarts=st.booleans())
@including(FOUND_WITH_RELOADS, restarts=True)
@including(FOUND_WITH_RELOADS, restarts=False)
@examples(40)
def test_whatever_fails_and_whatever_is_loaded_every_packet_is_counted_once(
    new_collector, temporality, history, restarts
):
    """New maps may take the place of old ones at any time while the process lives."""
    with played(new_collector, temporality, history, restarts=restarts) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=REFUSALS))
@examples(30)
def test_whatever_is_refused_every_packet_is_counted_once(new_collector, temporality, history):
    """Also what is refused after it was counted, as by a second exporter of the Collector."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *CLOCK, *REFUSALS, *KILLS, bursts_of=[Act.RELOAD, Act.COLLECTOR_FORGETS]))
@examples(30)
def test_whatever_happens_together_every_packet_is_counted_once(new_collector, temporality, history):
    """All of it at once."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=[*TOO_LARGE, Act.COLLECTOR_FORGETS]))
@examples(20)
def test_whatever_is_too_large_every_packet_is_counted_once(new_collector, temporality, history):
    """A batch goes out in smaller and smaller requests, of which each may meet another fate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidecar.delivery.SMALLEST_BYTES", 300)
        with played(new_collector, temporality, history, sources=3) as world:
            assert world.counted == world.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(history=histories(*HARMLESS, *KILLS, *REFUSALS, bursts_of=[Act.FAIL_OVER]))
@examples(30)
def test_of_two_collectors_none_shows_too_much(new_collector, temporality, history):
    """One address leads now to one, now to the other, and both go on living."""
    with played(new_collector, temporality, history) as world:
        for name in FIELDS:
            shown = world.counted[name], world.collector.total_of_the_other(SUMS[name])
            assert max(shown) <= world.source.truth[name]
        if temporality is CUMULATIVE:
            assert world.counted == world.source.truth


@given(history=histories(*HARMLESS, *KILLS, bursts_of=REFUSALS))
@examples(30)
def test_plain_delta_never_counts_twice(new_collector, history):
    """Windows never overlap, and each that was counted is exact, also between windows that were given up."""
    with played(new_collector, Temporality.DELTA, history) as world:
        (found,) = windows(world.collector)

        assert all(one.end_ns <= other.start_ns for one, other in pairwise(found))
        assert [window.count for window in found] == [
            world.source.counted_at(window.end_ns) - world.source.counted_at(window.start_ns)
            for window in found
        ]
