# SPDX-License-Identifier: Apache-2.0
"""`/healthz` asks for progress: it tells a loop that is slow from one that hangs."""

import threading
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from sidecar.observe.server import StatusServer
from sidecar.state.record import Batch
from tests.waiting import settled
from tests.wire.world import World

PATIENCE_S = 1.0


@pytest.fixture
def slow(collector, state_dir):
    """A process whose Collector takes 0.4 s for each request, and its status server."""
    collector.takes_s = 0.4
    with (
        World(collector, state_dir, timeout_s=20) as world,
        closing(StatusServer("127.0.0.1", 0, world.telemetry, PATIENCE_S)) as server,
    ):
        yield world, server


def health(server):
    """The status code of `/healthz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_slow_collector_that_answers_is_progress(slow):
    """Eight requests take three times as long as the patience, and no probe fails meanwhile."""
    world, server = slow
    world.delivery.submit(Batch((b"",) * 8, {}), {})
    sending = threading.Thread(target=world.delivery.send)
    sending.start()
    seen = []
    while sending.is_alive():
        seen.append(health(server))
        sending.join(0.1)

    assert len(world.collector.calls) == 8
    assert len(seen) > 20
    assert set(seen) == {200}


def test_a_call_without_an_answer_is_no_progress(slow):
    """The probe fails once the patience is over, and is right again after the call."""
    world, server = slow
    world.delivery.submit(Batch((b"",), {}), {})
    world.collector.will(hangs=True)
    sending = threading.Thread(target=world.delivery.send, kwargs={"timeout_s": 4})
    sending.start()
    hung = settled(lambda: health(server), 503, 10)
    sending.join()

    assert (hung, health(server)) == (503, 200)
