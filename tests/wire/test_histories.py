# SPDX-License-Identifier: Apache-2.0
"""Properties over random histories of failures; `make explore` draws more than `make test`."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.histogram import Histogram
from sidecar.kinds import Kind
from sidecar.model import Temporality
from sidecar.schema import Instrument
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
def test_failures_do_not_affect_the_count(new_collector, temporality, history):
    """Responses lost or late, calls refused, disk failures, clock steps, kills at any step, power cuts."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *CLOCK, *KILLS, bursts_of=[Act.COLLECTOR_FORGETS]))
@examples(20)
def test_failures_and_a_collector_without_state_do_not_affect_the_count(new_collector, temporality, history):
    """The Collector may lose its state at any time as well."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(history=histories(*HARMLESS, *CLOCK, bursts_of=[Act.RELOAD]), restarts=st.booleans())
@including(FOUND_WITH_RELOADS, restarts=True)
@including(FOUND_WITH_RELOADS, restarts=False)
@examples(40)
def test_failures_and_reloads_do_not_affect_the_count(new_collector, temporality, history, restarts):
    """Maps may be replaced at any time while the process runs."""
    with played(new_collector, temporality, history, restarts=restarts) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=REFUSALS))
@examples(30)
def test_refusals_do_not_affect_the_count(new_collector, temporality, history):
    """Including refusals after the points were counted, as by a second exporter of the Collector."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *CLOCK, *REFUSALS, *KILLS, bursts_of=[Act.RELOAD, Act.COLLECTOR_FORGETS]))
@examples(30)
def test_all_events_together_do_not_affect_the_count(new_collector, temporality, history):
    """Failures, clock steps, refusals, kills, reloads and lost state combined."""
    with played(new_collector, temporality, history) as world:
        assert world.counted == world.source.truth


# A bucket that counts, one that does not, and a sum.
HISTOGRAM = Instrument(
    "sizes",
    "By",
    "",
    "sizes",
    Kind.HISTOGRAM,
    histogram=Histogram(("tcp_packets", "udp_packets"), (100.0,), ("total_bytes",)),
    reads=("tcp_packets", "udp_packets", "total_bytes"),
)


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *CLOCK, *REFUSALS, *KILLS, bursts_of=[Act.RELOAD, Act.COLLECTOR_FORGETS]))
@examples(15)
def test_each_bucket_of_a_histogram_is_a_sum(new_collector, temporality, history):
    """All events combined: the delivery knows no difference."""
    with played(new_collector, temporality, history, metrics=(HISTOGRAM,)) as world:
        assert world.counted == world.source.truth
        shown = {name: world.collector.total(f"sizes{name}") for name in ("[0]", "[1]", ".sum")}
        assert (shown["[0]"], shown["[1]"]) == (world.truth["tcp_packets"], 0)
        # A sum is a double, so the largest are rounded.
        assert shown[".sum"] == pytest.approx(world.truth["total_bytes"], rel=1e-12)


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=[*TOO_LARGE, Act.COLLECTOR_FORGETS]))
@examples(20)
def test_splitting_large_batches_does_not_affect_the_count(new_collector, temporality, history):
    """A batch is sent in ever smaller requests, each with an outcome of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidecar.delivery.SMALLEST_BYTES", 300)
        with played(new_collector, temporality, history, sources=3) as world:
            assert world.counted == world.truth


@pytest.mark.parametrize("temporality", Temporality)
@given(history=histories(*HARMLESS, *KILLS, *REFUSALS, bursts_of=[Act.FAIL_OVER]))
@examples(30)
def test_neither_of_two_collectors_overcounts(new_collector, temporality, history):
    """One address fails over between two Collectors, and both keep running."""
    with played(new_collector, temporality, history) as world:
        for name in FIELDS:
            shown = world.counted[name], world.collector.total_of_the_other(SUMS[name])
            assert max(shown) <= world.source.truth[name]
        if temporality is CUMULATIVE:
            assert world.counted == world.source.truth


@given(history=histories(*HARMLESS, *KILLS, bursts_of=REFUSALS))
@examples(30)
def test_plain_delta_never_counts_twice(new_collector, history):
    """Windows never overlap, and every accepted one is exact, even between windows that were given up."""
    with played(new_collector, Temporality.DELTA, history) as world:
        (found,) = windows(world.collector)

        assert all(one.end_ns <= other.start_ns for one, other in pairwise(found))
        assert [window.count for window in found] == [
            world.source.counted_at(window.end_ns) - world.source.counted_at(window.start_ns)
            for window in found
        ]
