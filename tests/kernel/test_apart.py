# SPDX-License-Identifier: Apache-2.0
"""Two sources never write the same stream, whichever maps take their places while they are read."""

import logging
import re
import struct
from dataclasses import replace

import pytest

from demo.bpf_commands import map_update
from sidecar.describe.file import sources
from sidecar.describe.spec import KeySpec, LayoutSpec, MapRef, Member, MetricSpec, SourceSpec
from sidecar.errors import ConfigError
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi
from sidecar.kinds import Kind
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from tests.kernel.test_follow import counting, eventually, run, server  # noqa: F401  # fixtures

PACKETS = sources.profile("packet-counter")


@pytest.fixture
def world(make_map, make_pin, cleanup):
    """Pinned maps by letter, and the sources that read them."""
    pins = {}

    class World:
        def source(self, letter, **spec):
            self.put(letter, spec.pop("first", {"value_size": 16, "max_entries": 5, "name": "xdp_stats_map"}))
            source = locate.source(SourceSpec(MapRef("pin", str(pins[letter])), **spec))
            source.open()
            cleanup.callback(source.close)
            return source

        def put(self, letter, shape=None):
            """Pin a new map in the place of the old one: by default one that is a packet counter's."""
            fd = make_map(uapi.MAP_ARRAY, **(shape or {}))
            if letter in pins:
                pins[letter].unlink()
            pins[letter] = make_pin(fd, pins.get(letter))
            return bpf.map_info(fd).id

    return World()


def marked(source):
    """Whether the series of a source have its name."""
    return ("xdp.source", source.name) in source.schema.attributes


def test_a_map_with_the_metrics_of_another_source_gets_the_source_attribute(world, caplog):
    """The other source's series keep their attributes, and the new one stays with the next map."""
    one, other = world.source("a"), world.source("b", first={})
    tell_apart([one, other])
    assert not marked(one)
    world.put("a")
    with caplog.at_level(logging.WARNING):
        one.read()

    assert (marked(one), marked(other)) == (True, False)
    assert caplog.text.count("another source has the same series") == 1
    world.put("a")
    world.put("b")
    one.read()
    other.read()
    assert (marked(one), marked(other)) == (True, False)
    assert [name for name, _ in one.schema.attributes].count("xdp.source") == 1


def test_streams_once_written_stay_with_their_source(world):
    """The Collector knows them: no other source may continue them."""
    one, other = world.source("a"), world.source("b", first={})
    tell_apart([one, other])
    world.put("b", {"value_size": 16, "max_entries": 5, "name": "xdp_stats_map"})
    other.read()
    assert marked(other)
    world.put("a")
    one.read()

    assert marked(one)


def test_sources_that_swap_their_maps_stay_distinct(world):
    """Otherwise each would continue the other's series."""
    one, other = world.source("a"), world.source("b", first={})
    tell_apart([one, other])
    world.put("a")
    world.put("b", {"value_size": 16, "max_entries": 5, "name": "xdp_stats_map"})
    one.read()
    other.read()

    assert (marked(one), marked(other)) == (True, True)


def layout(kind, name):
    return LayoutSpec(value=(Member(name, kind, offset=0),))


def test_a_map_that_makes_a_metric_a_counter_in_one_source_only_is_not_followed(world):
    """The open map is read on and its source is stale; a map that fits is followed again."""
    gauge = MetricSpec("xdp.packets.total", "x", kind=Kind.GAUGE)
    one = world.source("a")
    other = world.source("b", first={"value_size": 8}, layout=layout("u64", "x"), metrics=(gauge,))
    tell_apart([one, other])
    before = one.info.id
    world.put("a")
    one.read()

    assert one.info.id == before
    assert "metric 'xdp.packets.total' is a counter in only one of them" in one.stale
    assert one.read()[-1].identity.map_id == before
    again = world.put("a", {"value_size": 16, "max_entries": 5, "name": "xdp_stats_map"})
    one.read()
    assert one.info.id == again


@pytest.mark.parametrize(
    ("ours", "theirs", "marks"),
    [
        ({}, {}, True),
        ({"site": 1}, {"site": 2}, False),
        ({"site": 5}, {"site": "5"}, True),
        ({"on": True}, {"on": "true"}, True),
        ({"on": True}, {"on": 1}, False),
        ({"a.b": "x"}, {"a_b": "x"}, True),
        ({"site": "x"}, {}, False),
        ({"queue": 1}, {}, True),
        ({"queue": 1, "site": 1}, {"site": 2}, False),
    ],
)
def test_sources_conflict_if_prometheus_could_confuse_their_series(world, ours, theirs, marks):
    """Labels are compared as in Prometheus; one that the other source may have from its key does not help."""
    shape = {"value_size": 64, "max_entries": 4}
    keyed = replace(PACKETS, key=(KeySpec("key", "queue"),))
    one = world.source("a", first={}, attributes=tuple(ours.items()), profile=PACKETS)
    other = world.source("b", first=shape, attributes=tuple(theirs.items()), profile=keyed)
    tell_apart([one, other])

    assert [marked(one), marked(other)] == [marks, marks]


def test_a_metric_of_two_kinds_is_refused_at_the_start(world):
    """Before anything is exported."""
    gauge = MetricSpec("xdp.packets.total", "x", kind=Kind.GAUGE)
    other = world.source("b", first={"value_size": 8}, layout=layout("u64", "x"), metrics=(gauge,))

    with pytest.raises(ConfigError, match="a counter in only one of them"):
        tell_apart([world.source("a", first={}), other])


def test_nothing_is_lost_or_mixed_up_when_sources_become_alike(run, server, make_pin, make_map):  # noqa: F811
    """A running sidecar exports the counts of both, each in its own stream."""
    before = make_pin(make_map(uapi.MAP_ARRAY, value_size=16, max_entries=5, name="xdp_stats_map"))
    other_fd = counting("other", 3)
    other = make_pin(other_fd)
    with run("--map-path", str(before), "--map-path", str(other)) as log:
        eventually(lambda: server.total("xdp.packets.total"), 3, log)
        before.unlink()
        make_pin(counting("newcomer", 5), before)
        eventually(lambda: server.total("xdp.packets.total", **{"xdp.source": f"pin:{before}"}), 5, log)
        map_update(other_fd, bytes(4), struct.pack("=8Q", 10, 0, 0, 0, 0, 10, 0, 0))

        eventually(lambda: server.total("xdp.packets.total"), 15, log)
    assert re.search(f"pin:{before}: another source has the same series", log.read_text())
