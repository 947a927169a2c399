# SPDX-License-Identifier: Apache-2.0
"""A reload under outages, refusals and a full disk: when the sources change, and that nothing is lost."""

import grpc
import pytest

from sidecar.errors import RightsError, SourceError
from sidecar.model import Temporality
from sidecar.observe.service_manager import ServiceManager
from sidecar.reload import Reload
from sidecar.sources.source import boot_id
from sidecar.state.retention import Retention, living_maps
from tests.wire.world import Source, World

UNAVAILABLE, INVALID = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT


class SourceSet:
    """Maps in memory in place of the kernel's; *specs* are the sources themselves."""

    def __init__(self, world):
        self.world = world
        self.specs = self.sources = list(world.sources)
        self.error = None
        self.opened_at = []

    def check(self, _specs):
        if self.error:
            raise self.error

    def open(self, specs):
        self.check(specs)
        assert not self.world.delivery.has_pending
        self.opened_at.append(self.world.clock.now())
        self.specs = self.sources = specs

    def retained(self, record):
        names = {source.name for source in self.sources}
        return Retention(names, boot_id(), living_maps()).retain(record)


class Reloaded:
    """A process that runs for a minute; at 15 s it is to read eth1, and eth0 too if it *keeps* that."""

    def __init__(self, world, *, keeps=True):
        self.world = world
        self.set = SourceSet(world)
        self.old, self.new = world.source, Source(world.clock, "eth1")
        # Another map than that of eth0.
        self.new._generation = 71
        self.reload = Reload(self.set, lambda: self._specs, ServiceManager({}))
        self._specs = [*([self.old] if keeps else []), self.new]
        for at in range(1, 58, 4):
            self.at(at, lambda: self.old.count(3))
            self.at(at, lambda: self.new.count(2))
        self.at(15, self.reload.request)
        world.clock.stop_at = 60

    def at(self, seconds, event):
        self.world.clock.events.append((seconds, event))
        self.world.clock.events.sort(key=lambda timed: timed[0])

    def run(self):
        self.world.pipeline.run(10.0, self.reload)


@pytest.mark.parametrize("temporality", Temporality)
@pytest.mark.parametrize("refusals", [0, 1, 4])
def test_the_old_sources_are_delivered_before_the_new_ones_are_read(
    collector, state_dir, temporality, refusals, caplog
):
    """The new ones wait for as long as the Collector does not acknowledge."""
    caplog.set_level("INFO")
    collector.will(UNAVAILABLE, times=refusals)
    with World(collector, state_dir, temporality=temporality) as world:
        reloaded = Reloaded(world)
        reloaded.run()
        world.sources.append(reloaded.new)

        assert len(reloaded.set.opened_at) == 1
        assert world.counted == world.truth
        assert ("waits until batch 1" in caplog.text) == (reloaded.set.opened_at[0] > 20)


def test_a_source_that_is_removed_is_delivered_up_to_then(collector, state_dir):
    """With one more reading at that moment; it is not read any more then."""
    with World(collector, state_dir) as world:
        reloaded = Reloaded(world, keeps=False)
        reloaded.run()

        removed = reloaded.old.counted_at(max(reloaded.old.history))
        expected = removed + reloaded.new.truth["total_packets"]
        assert removed < reloaded.old.truth["total_packets"]
        assert world.counted["total_packets"] == expected


def test_a_batch_that_was_given_up_does_not_block_a_reload(collector, state_dir):
    """A Collector that refuses for good may be the reason for the reload."""
    collector.will(INVALID, times=100)
    with World(collector, state_dir) as world:
        reloaded = Reloaded(world)
        reloaded.run()

        assert len(reloaded.set.opened_at) == 1


def test_a_full_disk_puts_a_reload_off(collector, state_dir):
    """What is not journaled is not sent, so the old sources are kept until it can be."""
    with World(collector, state_dir) as world:
        reloaded = Reloaded(world)
        reloaded.at(12, world.break_disk)
        reloaded.at(35, world.mend_disk)
        reloaded.run()
        world.sources.append(reloaded.new)

        assert [at > 35 for at in reloaded.set.opened_at] == [True]
        assert world.counted == world.truth


@pytest.mark.parametrize("refusals", [0, 4])
@pytest.mark.parametrize("kind", [SourceError, RightsError])
def test_a_refused_reload_changes_nothing(collector, state_dir, kind, refusals, caplog):
    """One line says why, at once also during an outage."""
    collector.will(UNAVAILABLE, times=refusals)
    with World(collector, state_dir) as world:
        reloaded = Reloaded(world)
        reloaded.set.error = kind("open map", "EPERM", "do this")
        reloaded.run()

        assert world.pipeline._sources == world.sources
        assert world.counted == world.truth
    refused = [record.message for record in caplog.records if "reload refused" in record.message]
    remedy = "restart: " if kind is RightsError else "do this"
    assert len(refused) == 1
    assert f"cannot open map: EPERM: {remedy}" in refused[0]
