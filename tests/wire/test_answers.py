# SPDX-License-Identifier: Apache-2.0
"""
Responses that no gRPC server sends, against the real pipeline, delivery and pusher.

A receiver that drops duplicates, as ours does (base point on), gets the same points until it acknowledges
them. For others, a batch that the specification forbids to retry is given up: one, however long the outage.
"""

import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.processes import ROOT
from sidecar.model import Temporality
from tests.examples import examples
from tests.packet_counter import FIELDS
from tests.wire.books import points
from tests.wire.histories import HARMLESS, KILLS, Act, histories, played
from tests.wire.raw_http2 import ACKNOWLEDGEMENTS, ANSWERS, REFUSALS, RETRYABLE, RawCollector, Reply
from tests.wire.world import World

BASE, PLAIN, CUMULATIVE = Temporality.DELTA_WITH_BASE, Temporality.DELTA, Temporality.CUMULATIVE
HOUR_S = 3600


@pytest.fixture
def play(state_dir):
    """Return a function that plays an outage of one reply and then some good hours; it returns the world."""

    def played_outage(temporality, reply, *, cycles):
        # On a busy machine an acknowledgement may take long; some other replies never come.
        timeout_s = 10 if reply.name in ACKNOWLEDGEMENTS else 0.2
        with (
            RawCollector() as collector,
            World(collector, state_dir, temporality=temporality, timeout_s=timeout_s) as world,
        ):
            world.source.count(7)
            world.cycle()
            collector.reply(reply, times=10_000)
            for _ in range(cycles):
                world.source.count(100)
                world.cycle(after_s=60)
            world.bad_bodies = collector.bodies[1:]
            collector.will_be_fine()
            for _ in range(4):
                world.source.count(1000)
                world.cycle(after_s=2 * HOUR_S)
            return world

    return played_outage


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("name", [*RETRYABLE, *REFUSALS])
def test_with_a_base_point_the_same_points_are_sent_until_acknowledged(play, name, counts):
    """Exact whether or not they were counted; no new points are sent before."""
    world = play(BASE, Reply(name, counts), cycles=3)
    said = [set(points_of(body)) for body in world.bad_bodies]

    assert world.counted == world.source.truth
    assert all(one <= said[0] for one in said)


@pytest.mark.parametrize("name", ACKNOWLEDGEMENTS)
@pytest.mark.parametrize("temporality", Temporality)
def test_an_odd_acknowledgement_counts_as_one(play, temporality, name):
    """The points are not sent again."""
    world = play(temporality, Reply(name), cycles=3)

    assert world.counted == world.source.truth
    assert len(world.bad_bodies) == len(set(world.bad_bodies)) == 3


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("name", REFUSALS)
def test_in_plain_delta_an_outage_costs_at_most_one_batch(play, name, counts):
    """The first of the outage or none, and never a packet too many."""
    world = play(PLAIN, Reply(name, counts), cycles=20)
    missing = world.source.truth["total_packets"] - world.counted["total_packets"]

    assert missing in ({0} if counts else {0, 100})


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("name", RETRYABLE)
def test_in_plain_delta_retryable_responses_lose_nothing(play, name, counts):
    """The batch is sent again and counts once."""
    world = play(PLAIN, Reply(name, counts), cycles=5)

    assert world.counted == world.source.truth


@pytest.mark.parametrize("name", ["HTTP 500", "INVALID_ARGUMENT", "RST_STREAM(2)", "OK without a message"])
@pytest.mark.parametrize("temporality", Temporality)
def test_an_hour_of_refusals_is_not_an_hour_of_requests(state_dir, temporality, name):
    """The backoff grows to half a minute, and at most that one batch is lost."""
    with RawCollector() as collector, World(collector, state_dir, temporality=temporality) as world:
        collector.reply(Reply(name, counts=False), times=10_000)
        world.clock.events = [(at, world.source.count) for at in range(5, HOUR_S, 10)]
        world.clock.stop_at = HOUR_S
        world.source.count(40_000)
        world.pipeline.run(10)
        attempts = len(collector.bodies)
        collector.will_be_fine()
        world.clock.stop_at = float("inf")
        for _ in range(3):
            world.cycle(after_s=60)
        missing = world.source.truth["total_packets"] - world.counted["total_packets"]

        assert 10 < attempts < 260
        assert missing in ({0, 40_000} if temporality is PLAIN else {0})


@pytest.mark.parametrize("name", [name for name in {**RETRYABLE, **REFUSALS} if "evil" in name])
def test_text_from_the_peer_is_safe_on_a_terminal(play, name, caplog):
    """No control characters, no direction overrides, no overlong lines in the log."""
    play(BASE, Reply(name), cycles=1)
    _harmless(caplog.messages)


@pytest.mark.parametrize("name", [name for name in ACKNOWLEDGEMENTS if "text" in name])
def test_text_of_a_partial_success_is_safe_on_a_terminal(play, name, caplog):
    """The same rules apply to the message of an acknowledgement."""
    play(BASE, Reply(name), cycles=1)
    _harmless(caplog.messages)


def test_grpc_itself_logs_nothing():
    """By default its core writes the peer's text to standard error unescaped."""
    with RawCollector() as collector:
        collector.reply(Reply("GOAWAY(2), evil text"))
        script = (
            "from sidecar.otlp_push import Pusher; from sidecar.otlp.endpoint import Endpoint; "
            f"print(Pusher(Endpoint('localhost:{collector.port}', False)).push(bytes((10, 0))).code)"
        )
        environ = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )

    assert (done.stdout, done.stderr) == ("UNAVAILABLE\n", "")


def _harmless(lines):
    assert max(map(len, lines)) < 1000
    assert {
        character
        for line in lines
        for character in line
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } == set()


def points_of(body):
    """Yield stream, window and count of each point."""
    for stream, point, _ in points(body):
        yield stream, point.start_time_unix_nano, point.time_unix_nano, point.as_int


REPLIES = [Reply(name, counts) for name in {**RETRYABLE, **REFUSALS} for counts in (True, False)]
REPLIES += [Reply(name) for name in ACKNOWLEDGEMENTS]


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=[*REPLIES, *[Act.COLLECTOR_FORGETS] * 20]))
@examples(20)
def test_no_response_affects_the_count(temporality, history):
    """Any responses in any order, mixed with kills and Collectors that lose their state."""
    with played(RawCollector, temporality, history, calm_s=2 * HOUR_S) as world:
        assert world.counted == world.source.truth


@given(
    history=histories(*HARMLESS, *KILLS, bursts_of=[Act.RELOAD, *REPLIES]),
    name=st.sampled_from([*REFUSALS]),
)
@examples(20)
def test_no_response_makes_plain_delta_count_twice(history, name):
    """And from the first good response on it is exact again."""
    with played(RawCollector, PLAIN, [*history, (Reply(name), 0, 10)], calm_s=2 * HOUR_S) as world:
        before = world.counted
        world.source.count(9)
        world.cycle()

        assert all(world.counted[one] <= world.source.truth[one] for one in FIELDS)
        assert world.counted["total_packets"] == before["total_packets"] + 9


def test_the_table_of_answers_is_complete():
    """It has every RST_STREAM code, and no answer is in two tables."""
    assert {f"RST_STREAM({code})" for code in range(14)} <= {*ANSWERS}
    assert len(ANSWERS) == len(ACKNOWLEDGEMENTS) + len(RETRYABLE) + len(REFUSALS)
