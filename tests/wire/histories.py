# SPDX-License-Identifier: Apache-2.0
"""
The events of a world, the strategy that draws them, and the histories that once failed.

A history is a list of (act, packets counted after it, seconds until the cycle). Independent acts hardly ever
coincide, so they are drawn in bursts while a batch is in flight.
"""

import contextlib
import tempfile
from dataclasses import replace
from enum import Enum
from functools import reduce
from itertools import chain
from pathlib import Path

import pytest
from grpc import StatusCode
from hypothesis import example
from hypothesis import strategies as st

from sidecar.kernel import reported
from tests.wire.world import SECOND, World


class Act(Enum):
    """What happens in a round, before packets are counted and a cycle runs."""

    NOTHING = ("nothing", None)
    LOST_ANSWER = ("answer", {"code": StatusCode.UNAVAILABLE, "counts": True})
    NOT_TAKEN = ("answer", {"code": StatusCode.UNAVAILABLE})
    LATE = ("answer", {"hangs": True, "counts": True})
    LOCKED_OUT = ("answer", {"code": StatusCode.UNAUTHENTICATED})
    REFUSED = ("answer", {"code": StatusCode.INVALID_ARGUMENT})
    TOO_LARGE = ("answer", {"code": StatusCode.RESOURCE_EXHAUSTED})
    UNCLEAR = ("answer", {"code": StatusCode.INTERNAL})
    UNCLEAR_BUT_TAKEN = ("answer", {"code": StatusCode.UNKNOWN, "counts": True})
    # A second exporter of the Collector refuses after the first has counted.
    REFUSED_BUT_TAKEN = ("answer", {"code": StatusCode.INVALID_ARGUMENT, "counts": True})
    LOCKED_OUT_BUT_TAKEN = ("answer", {"code": StatusCode.UNAUTHENTICATED, "counts": True})
    UNKNOWN_METHOD_BUT_TAKEN = ("answer", {"code": StatusCode.UNIMPLEMENTED, "counts": True})
    TOO_LARGE_BUT_TAKEN = ("answer", {"code": StatusCode.RESOURCE_EXHAUSTED, "counts": True})
    RELOAD = ("reload", None)
    UNREADABLE = ("unreadable", None)
    DISK_GONE = ("disk gone", None)
    COLLECTOR_FORGETS = ("collector forgets", None)
    FAIL_OVER = ("fail over", None)
    KILLED = ("killed", None)
    POWER_CUT = ("power cut", None)
    KILLED_BEFORE_COMMIT = ("killed in step", "before commit")
    KILLED_AFTER_COMMIT = ("killed in step", "after commit")
    KILLED_BEFORE_PUSH = ("killed in step", "before push")
    KILLED_AFTER_PUSH = ("killed in step", "after push")
    KILLED_BEFORE_ACKNOWLEDGE = ("killed in step", "before acknowledge")
    KILLED_AFTER_ACKNOWLEDGE = ("killed in step", "after acknowledge")
    CLOCK_FAR_BACK = ("clock is set", -50)
    CLOCK_BACK = ("clock is set", -1)
    CLOCK_FORWARD = ("clock is set", 50)

    def __repr__(self):
        """As written in a history, so that a failing example can be pasted."""
        return str(self)


def _acts(*kinds):
    return [act for act in Act if act.value[0] in kinds]


KILLS = _acts("killed", "power cut", "killed in step")
CLOCK = _acts("clock is set")
REFUSALS = [
    act
    for act in _acts("answer")
    if "hangs" not in act.value[1] and act.value[1]["code"] is not StatusCode.UNAVAILABLE
]
# Each leaves a batch in flight.
UNANSWERED = [Act.LOST_ANSWER, Act.NOT_TAKEN, Act.LATE]
HARMLESS = [Act.NOTHING, *UNANSWERED, Act.UNREADABLE, Act.DISK_GONE]

_PACKETS = st.one_of(st.just(0), st.just(1), st.integers(0, 2**40))
_SOON_S = 0.001  # sooner than any retry
_PAUSES_S = st.sampled_from([_SOON_S, 10, 100])


def histories(*usual, bursts_of=()):
    """
    Draw histories of *usual* acts and of bursts: one act repeated while a batch is in flight.

    Acts in *bursts_of* are drawn for bursts more often than the usual ones.
    """
    once = st.tuples(st.sampled_from([*usual, *bursts_of]), _PACKETS, _PAUSES_S)
    opening = st.tuples(st.sampled_from(UNANSWERED[:2]), _PACKETS, st.just(_SOON_S))
    again = st.tuples(
        st.sampled_from([*bursts_of, *bursts_of, *usual]), st.just(0) | _PACKETS, st.just(_SOON_S)
    )
    burst = st.builds(
        lambda first, act, times, last: [first, *[act] * times, last], opening, again, st.integers(1, 4), once
    )
    piece = st.one_of(once.map(lambda round_: [round_]), burst, burst)
    return st.lists(piece, min_size=1, max_size=6).map(lambda pieces: list(chain.from_iterable(pieces)))


FOUND_WITH_RELOADS = {
    # The second reload pushed the first map out of the baseline while the source still held it: 2 counted.
    "two reloads while a batch is under way": [
        (Act.LOST_ANSWER, 1, 0.001),
        (Act.RELOAD, 0, 0.001),
        (Act.RELOAD, 0, 0.001),
        (Act.UNREADABLE, 0, 10),
        (Act.LOST_ANSWER, 0, 0.001),
    ],
}
"""Histories that once failed. Add what `make explore` finds, with what was wrong."""


def including(known, **more):
    """Try these histories before any drawn ones."""

    def decorate(test):
        return reduce(lambda so_far, history: example(history=history, **more)(so_far), known.values(), test)

    return decorate


def act(world, happening, value):
    """Apply one act to the world."""
    if happening == "answer":
        world.collector.will(**value)
    elif happening == "reply":
        world.collector.reply(value)
    elif happening == "unreadable":
        world.source.unreadable = True
    elif happening == "clock is set":
        world.clock.wall_ns += value * SECOND
    elif happening == "killed in step":
        world.fatal_step = value
    elif happening != "nothing":
        {
            "disk gone": world.break_disk,
            "collector forgets": world.collector.forget,
            "fail over": world.collector.fail_over,
            "killed": world.restart,
            "power cut": world.cut_power,
            "reload": world.source.replace,
        }[happening]()


@contextlib.contextmanager
def played(new_collector, temporality, history, *, sources=1, restarts=True, calm_s=100, metrics=()):
    """
    Yield a world after a history and then a few undisturbed cycles, *calm_s* seconds apart.

    The sources have *metrics* besides their own.
    """
    with (
        new_collector() as collector,
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr(reported, "PIN_ROOT", Path(directory) / "bpffs")
        world = World(collector, Path(directory) / "state", temporality=temporality, timeout_s=0.05)
        for number in range(1, sources):
            world.add_source(f"eth{number}")
        for source in world.sources:
            source.schema = replace(source.schema, instruments=(*source.schema.instruments, *metrics))
        with world:
            for happening, packets, after_s in history:
                act(world, *happening.value)
                for source in world.sources:
                    source.count(packets)
                world.cycle(after_s)
                world.mend_disk()
                world.source.unreadable = False
            world.fatal_step = None
            world.endpoint = replace(world.endpoint, timeout_s=10)
            collector.will_be_fine()
            if restarts:
                world.restart()
            for _ in range(3):
                world.cycle(after_s=calm_s)
            yield world
