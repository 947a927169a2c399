# SPDX-License-Identifier: Apache-2.0
"""Sidecar, agent, gateways, store: the count is exact whichever of them dies, hangs or loses its state."""

import shutil
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from demo.ports import Ports
from demo.processes import run
from demo.service import Service
from scale import services
from scale.counts import Counter, samples, shown
from tests.waiting import answered, settled

HOSTS = ("127.0.0.2", "127.0.0.3")
NAME = "gateways.test"
QUICK = ("exporters::otlp_grpc::retry_on_failure::max_interval: 1s", "exporters::otlp_grpc::timeout: 2s")


@dataclass(frozen=True)
class Route:
    """A running path from the map to the store."""

    counter: Counter
    services: dict[str, Service]
    store: Ports
    directory: Path

    def flow(self, seconds=1.0):
        """Let it count; fail unless new samples reach the store."""
        before = len(samples(self.store))
        time.sleep(seconds)
        answered(lambda: len(samples(self.store)) > before, 90)

    def settled(self):
        """Stop counting; return what the store shows: the truth, or the last reading once time is up."""
        self.counter.hold()
        return settled(lambda: shown(self.store), self.counter.truth)


@contextmanager
def running(tmp_path, counter, *options, late="0s", settings=None):
    """Run a path with two gateways behind one name (a headless Service); the first counts have arrived."""
    store = Ports.free()
    agent = Ports.free()
    gateways = [Ports.free() for _ in HOSTS]
    gateway_port = gateways[0].otlp
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"{host} {NAME}\n" for host in HOSTS))
    parts = {"store": services.store(tmp_path, store, late=late)}
    for host, ports in zip(HOSTS, gateways, strict=True):
        parts[host] = services.collector(
            f"gateway-{host}",
            tmp_path,
            replace(ports, otlp=gateway_port),
            ["gateway.yaml"],
            services.remote_write(store),
            host=host,
        )
    parts["agent"] = services.collector(
        "agent",
        tmp_path,
        agent,
        ["agent.yaml"],
        {"COLLECTOR_GATEWAY_ENDPOINT": f"{NAME}:{gateway_port}", "COLLECTOR_GATEWAY_INSECURE": "true"},
        overrides=QUICK,
        inside=["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"],
    )
    parts["sidecar"] = services.sidecar(
        tmp_path, counter.pin, f"127.0.0.1:{agent.otlp}", *options, settings=settings
    )
    with ExitStack() as cleanup:
        for part in parts.values():
            cleanup.enter_context(part)
        made = Route(counter, parts, store, tmp_path)
        made.flow()
        yield made


@pytest.fixture
def route(tmp_path, counter):
    """A path as the chart has it: deltas with the base point, and a store that takes samples in order."""
    with running(tmp_path, counter, "--base-point") as made:
        yield made


@pytest.fixture
def late_route(tmp_path, counter):
    """A path whose store also takes samples that are late: the sidecar sends totals."""
    cumulative = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative"}
    with running(tmp_path, counter, late="1d", settings=cumulative) as made:
        yield made


def kill(route, *names):
    for name in names:
        route.services[name].kill()


def start(route, *names):
    for name in names:
        route.services[name].start()


def assert_exact(route):
    """The store shows what the kernel counted, and its counter never decreased."""
    seen = route.settled()
    assert route.counter.truth == seen
    values = [value for _, value in samples(route.store)]
    assert not [(before, after) for before, after in pairwise(values) if after < before]


@pytest.mark.parametrize("part", ["sidecar", "agent", "store", *HOSTS])
def test_exact_after_a_kill(route, part):
    """Each part in turn is killed and restarted without its memory: nothing is lost or counted twice."""
    kill(route, part)
    time.sleep(1)
    start(route, part)
    route.flow()

    assert_exact(route)


def test_one_gateway_is_enough(route):
    """With one of two gateways dead, agents use the other."""
    kill(route, HOSTS[0])
    route.flow(2)

    assert_exact(route)


def test_requests_are_spread_over_the_gateways(route):
    """A name with two addresses is two gateways, and both receive requests."""
    route.flow(2)

    for host in HOSTS:
        kill(route, *[other for other in HOSTS if other != host])
        route.flow()
        start(route, *[other for other in HOSTS if other != host])


def test_agent_dies_while_the_store_is_down(route):
    """The store is down, the agent dies with a queue and state, both gateways restart."""
    kill(route, "store")
    time.sleep(1)
    kill(route, "agent", *HOSTS)
    time.sleep(0.5)
    start(route, "agent", *HOSTS)
    time.sleep(1)
    start(route, "store")
    route.flow()

    assert_exact(route)


def test_agent_loses_its_disk(route):
    """Even without its queue nothing is lost: the next total contains everything."""
    kill(route, *HOSTS)
    time.sleep(1)
    kill(route, "agent")
    shutil.rmtree(route.directory / "agent-storage")
    (route.directory / "agent-storage").mkdir()
    start(route, "agent", *HOSTS)
    route.flow()

    assert_exact(route)


def test_store_that_hangs(route):
    """A store that accepts requests but does not respond gets each count once."""
    process = route.services["store"].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    route.flow()

    assert_exact(route)


def test_outage_leaves_no_hole(route):
    """Counts from a store outage arrive from the agent's disk with their original timestamps."""
    route.services["store"].stop()
    time.sleep(6)
    start(route, "store")
    route.flow()

    assert_exact(route)
    # The first sample is from the creation of the map, before anything ran.
    times = [at for at, _ in samples(route.store)][1:]
    assert max(after - before for before, after in pairwise(times)) < 3


def test_full_queue(route):
    """An agent with a full queue makes the sidecar wait; nothing is lost or counted twice."""
    agent = route.services["agent"]
    kill(route, "agent")
    agent.env = {**agent.env, "COLLECTOR_QUEUE_SIZE": "3"}
    start(route, "agent")
    kill(route, *HOSTS)
    time.sleep(4)
    start(route, *HOSTS)
    route.flow()

    assert_exact(route)


def test_full_disk(route):
    """
    An agent that cannot write its queue refuses requests, or silently drops an item whose removal it cannot
    record; the next total makes up for it.
    """
    storage = route.directory / "agent-storage"
    kill(route, "agent")
    run("mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(storage))
    try:
        start(route, "agent")
        kill(route, *HOSTS)
        with pytest.raises(OSError, match="No space left"):
            (storage / "ballast").write_bytes(bytes(2**20))
        time.sleep(3)
        (storage / "ballast").unlink()
        start(route, *HOSTS)
        route.flow()

        assert_exact(route)
    finally:
        kill(route, "agent")
        run("umount", str(storage))


def test_a_refused_sample_is_made_up_for(route):
    """A store refuses a whole request for one out-of-order sample; the next total is exact anyway."""
    kill(route, "sidecar", "agent")
    # Without its state, the sidecar starts with a base point at the creation of the map.
    shutil.rmtree(route.directory / "state")
    start(route, "agent", "sidecar")
    route.flow()

    assert_exact(route)
    assert "Out of order sample" in route.services["store"].log.read_text()


def test_no_total_is_dated_back(late_route):
    """Agent and sidecar lose all their state: a store that takes late samples sees no reset in its past."""
    route = late_route
    kill(route, "sidecar", "agent")
    shutil.rmtree(route.directory / "state")
    start(route, "agent", "sidecar")
    route.flow()

    assert_exact(route)
