# SPDX-License-Identifier: Apache-2.0
"""A map that is replaced: its last counts are exported before it is released."""

from grpc import StatusCode


def test_an_old_map_is_held_until_its_last_counts_are_acknowledged(world):
    """Only then may the source release it."""
    world.source.count(3)
    world.cycle()
    world.source.count(5)
    world.source.replace()
    world.source.count(7)
    world.collector.will(StatusCode.UNAVAILABLE)
    world.cycle()
    early = len(world.source.read())
    world.cycle(after_s=60)

    assert (early, len(world.source.read())) == (2, 1)
    assert world.counted == world.source.truth


def test_the_last_reading_before_a_reboot_is_exported_after_it(world):
    """What was last read during an outage follows the batch that was in flight."""
    world.source.count(3)
    world.collector.will(StatusCode.UNAVAILABLE, times=3)
    for _ in range(3):
        world.cycle()
        world.source.count(5)
    seen = dict(world.source.truth)
    world.source.replace()
    world.source._held.clear()
    world.restart()
    world.source.count(11)
    for _ in range(2):
        world.cycle(after_s=60)

    assert world.counted["total_packets"] == seen["total_packets"] - 5 + 11
