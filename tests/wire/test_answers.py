# SPDX-License-Identifier: Apache-2.0
"""
Answers that no gRPC server gives, to the real pipeline, delivery and pusher.

To a receiver that de-duplicates, as ours does (base point on), whatever is no acknowledgement means the same
points again. To others what the specification forbids to retry is given up: one batch, however long it lasts.
"""

import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.processes import ROOT
from sidecar.kernel import reported
from sidecar.model import Temporality
from tests.examples import examples
from tests.packet_counter import FIELDS
from tests.wire.books import points
from tests.wire.histories import HARMLESS, KILLS, Act, histories, played
from tests.wire.raw_http2 import ACKNOWLEDGEMENTS, ANSWERS, REFUSALS, RETRYABLE, RawCollector, Reply
from tests.wire.world import World

BASE, PLAIN, CUMULATIVE = Temporality.DELTA_WITH_BASE, Temporality.DELTA, Temporality.CUMULATIVE
HOUR_S = 3600


@pytest.fixture(autouse=True)
def bpffs(tmp_path, monkeypatch):
    """A directory in the place of bpffs, which needs root."""
    monkeypatch.setattr(reported, "PIN_ROOT", tmp_path / "bpffs")


@pytest.fixture
def play(state_dir):
    """Play an outage in which each request meets the same; return the world after some good hours."""

    def played_outage(temporality, reply, *, cycles):
        with (
            RawCollector() as collector,
            World(collector, state_dir, temporality=temporality, timeout_s=0.2) as world,
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
def test_with_base_point_the_same_points_are_sent_until_they_are_acknowledged(play, name, counts):
    """Exact, whether it was counted or not; nothing new goes out before."""
    world = play(BASE, Reply(name, counts), cycles=3)
    said = [set(points_of(body)) for body in world.bad_bodies]

    assert world.counted == world.source.truth
    assert all(one <= said[0] for one in said)


@pytest.mark.parametrize("name", ACKNOWLEDGEMENTS)
@pytest.mark.parametrize("temporality", Temporality)
def test_an_acknowledgement_however_strange_is_one(play, temporality, name):
    """What was counted is not sent again."""
    world = play(temporality, Reply(name), cycles=3)

    assert world.counted == world.source.truth
    assert len(world.bad_bodies) == len(set(world.bad_bodies)) == 3


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("name", REFUSALS)
def test_in_plain_delta_one_batch_is_lost_however_long_it_lasts(play, name, counts):
    """The first one of the outage or nothing, and never a packet too much."""
    world = play(PLAIN, Reply(name, counts), cycles=20)
    missing = world.source.truth["total_packets"] - world.counted["total_packets"]

    assert missing in ({0} if counts else {0, 100})


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
@pytest.mark.parametrize("name", RETRYABLE)
def test_in_plain_delta_what_may_be_sent_again_is(play, name, counts):
    """Nothing is lost, and nothing is counted twice."""
    world = play(PLAIN, Reply(name, counts), cycles=5)

    assert world.counted == world.source.truth


@pytest.mark.parametrize("name", ["HTTP 500", "INVALID_ARGUMENT", "RST_STREAM(2)", "OK without a message"])
@pytest.mark.parametrize("temporality", Temporality)
def test_an_hour_of_refusals_is_not_an_hour_of_requests(state_dir, temporality, name):
    """The pauses grow to half a minute, and nothing is lost but that one batch."""
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
def test_no_text_of_the_other_side_can_harm_a_terminal(play, name, caplog):
    """No control characters, none that turn the writing around, and no line of endless length."""
    play(BASE, Reply(name), cycles=1)
    _harmless(caplog.messages)


@pytest.mark.parametrize("name", [name for name in ACKNOWLEDGEMENTS if "text" in name])
def test_no_text_of_an_acknowledgement_can_harm_a_terminal(play, name, caplog):
    """The same for the words of a partial success."""
    play(BASE, Reply(name), cycles=1)
    _harmless(caplog.messages)


def test_grpc_itself_writes_nothing():
    """Its core would write what the other side says to the standard error, as it is."""
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
    """What a request says: stream, window and count of each point."""
    for stream, point, _ in points(body):
        yield stream, point.start_time_unix_nano, point.time_unix_nano, point.as_int


REPLIES = [Reply(name, counts) for name in {**RETRYABLE, **REFUSALS} for counts in (True, False)]
REPLIES += [Reply(name) for name in ACKNOWLEDGEMENTS]


@pytest.mark.parametrize("temporality", [BASE, CUMULATIVE])
@given(history=histories(*HARMLESS, *KILLS, bursts_of=[*REPLIES, *[Act.COLLECTOR_FORGETS] * 20]))
@examples(20)
def test_whatever_is_answered_every_packet_is_counted_once(temporality, history):
    """Any answers, in any order, and kills and Collectors that forget between them."""
    with played(RawCollector, temporality, history, calm_s=2 * HOUR_S) as world:
        assert world.counted == world.source.truth


@given(
    history=histories(*HARMLESS, *KILLS, bursts_of=[Act.RELOAD, *REPLIES]),
    name=st.sampled_from([*REFUSALS]),
)
@examples(20)
def test_whatever_is_answered_plain_delta_never_counts_twice(history, name):
    """And is exact again from the first good answer on."""
    with played(RawCollector, PLAIN, [*history, (Reply(name), 0, 10)], calm_s=2 * HOUR_S) as world:
        before = world.counted
        world.source.count(9)
        world.cycle()

        assert all(world.counted[one] <= world.source.truth[one] for one in FIELDS)
        assert world.counted["total_packets"] == before["total_packets"] + 9


def test_the_table_of_answers_is_whole():
    """Each RST_STREAM code is there, and no answer is in two tables."""
    assert {f"RST_STREAM({code})" for code in range(14)} <= {*ANSWERS}
    assert len(ANSWERS) == len(ACKNOWLEDGEMENTS) + len(RETRYABLE) + len(REFUSALS)
