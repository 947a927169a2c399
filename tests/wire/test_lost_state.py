# SPDX-License-Identifier: Apache-2.0
"""A journal that cannot be written or is lost, and a Collector that loses its state."""

import errno
import os
import shutil

import pytest

from sidecar.model import Temporality
from tests.wire.books import windows
from tests.wire.world import World


def test_nothing_is_sent_that_is_not_journaled(world, caplog):
    """Without a journal the counts stay in the kernel; once it can be written, all of them are sent."""
    world.source.count(3)
    world.cycle()
    world.break_disk()
    for _ in range(3):
        world.source.count(5)
        world.cycle()
    sent = len(world.collector.calls)
    world.mend_disk()
    world.cycle()

    assert sent == 1
    assert "write journal" in caplog.text
    assert [window.count for window in windows(world.collector)[0]] == [3, 15]
    assert world.counted == world.source.truth


def test_an_acknowledgement_holds_even_if_it_cannot_be_recorded(world, caplog, monkeypatch):
    """The process remembers it; a restart resends the same bytes, which count once."""
    world.source.count(3)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        world.cycle()
    sent_once = len(world.collector.calls)
    world.source.count(2)
    world.restart()
    world.cycle()
    first, again, _ = world.collector.bodies

    assert "write journal" in caplog.text
    assert sent_once == 1
    assert first == again
    assert world.counted == world.source.truth


@pytest.mark.parametrize("temporality", Temporality)
@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_lost_journal_never_counts_twice(collector, state_dir, temporality, how):
    """What was acknowledged is not counted again; the loss is at most one window."""
    with World(collector, state_dir, temporality=temporality) as world:
        world.source.count(100)
        world.cycle()
        world.source.count(7)
        world.end()
        if how == "damaged":
            (state_dir / "journal").write_bytes(b"XDPOTEL1 and nothing that could be read")
        else:
            shutil.rmtree(state_dir)
        world.start()
        world.cycle()
        world.source.count(5)
        world.cycle()

        assert 105 <= world.counted["total_packets"] <= 112


@pytest.mark.parametrize("temporality", [Temporality.DELTA_WITH_BASE, Temporality.CUMULATIVE])
def test_a_collector_that_lost_its_state_gets_the_totals_again(collector, state_dir, temporality):
    """The next batch restores the true totals."""
    with World(collector, state_dir, temporality=temporality) as world:
        for _ in range(3):
            world.source.count(100)
            world.cycle()
            world.cycle()
            collector.forget()
        world.source.count(1)
        world.cycle()

        assert world.counted == world.source.truth
