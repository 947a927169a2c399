# SPDX-License-Identifier: Apache-2.0
"""The whole path: Prometheus shows what was sent, whichever part is killed in between."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import stack
from demo.comparison import Row, places_of, settle
from demo.generator import send, server
from demo.namespaces import CLIENT_INTERFACE, Lab, lab
from demo.ports import Ports
from demo.service import Service
from demo.tap import Tap, tap
from sidecar.kernel.interface import Interface


@dataclass(frozen=True)
class Route:
    """A running path: the namespaces, the tap between them, and the services by name."""

    lab: Lab
    places: list[Interface]
    truth: Tap
    ports: Ports
    services: dict[str, Service]

    def send(self) -> None:
        """Send the generator's traffic mix once."""
        send(self.lab)

    def compare(self) -> list[Row]:
        """Return what was sent, counted and shown, once they agree or time is up."""
        tables = settle(self.truth, self.ports, self.places, within_s=90)
        return [row for rows in tables for row in rows]


@pytest.fixture
def route(tmp_path: Path) -> Iterator[Route]:
    """Return a path before any traffic."""
    ports = Ports.free()
    with ExitStack() as cleanup:
        made = cleanup.enter_context(lab())
        places = places_of(made)
        for place in places:
            cleanup.callback(stack.detach, place.name, place.netns)
        services = {
            "collector": stack.collector(tmp_path, ports),
            "prometheus": stack.prometheus(tmp_path, ports),
            "sidecar": stack.counting(tmp_path, ports, places),
        }
        for service in services.values():
            cleanup.enter_context(service)
        truth = cleanup.enter_context(tap(made.client, CLIENT_INTERFACE))
        made.connect()
        cleanup.enter_context(server(made))
        yield Route(made, places, truth, ports, services)


def test_query_equals_truth(route: Route) -> None:
    """Every counter in Prometheus equals what was sent, at both ends, and none is zero."""
    route.send()

    rows = route.compare()

    assert all(row.agrees for row in rows), rows
    assert all(row.sent for row in rows)


@pytest.mark.parametrize("part", ["sidecar", "collector", "prometheus"])
def test_query_equals_truth_after_a_kill(route: Route, part: str) -> None:
    """Traffic before, during and after the outage of a part (SIGKILL) is in Prometheus, to the packet."""
    route.send()
    route.services[part].kill()
    route.send()
    route.services[part].start()
    route.send()

    rows = route.compare()

    assert all(row.agrees for row in rows), rows
    assert rows[0].sent > 3 * 10_000
