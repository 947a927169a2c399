# SPDX-License-Identifier: Apache-2.0
"""What systemd receives: real datagram sockets, by path and abstract."""

import os
import socket
import time
import uuid

import pytest

from sidecar.observe.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The environment that a service manager sets, and its socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(10)
        yield {"NOTIFY_SOCKET": name}, lambda: listening.recv(4096).decode()


def test_the_states_of_a_service(manager):
    """Ready, reloading with the time, the status once for each text, stopping."""
    environ, received = manager
    service = ServiceManager(environ)
    before = time.monotonic_ns() // 1000

    service.ready()
    assert received() == "READY=1"
    service.reloading()
    first, _, second = received().partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(second) <= time.monotonic_ns() // 1000
    for text in ("one", "one", "two"):
        service.status(text)
    assert [received(), received()] == ["STATUS=one", "STATUS=two"]
    service.stopping()
    assert received() == "STOPPING=1"


def test_the_watchdog_is_fed_as_often_as_it_needs(manager):
    """Not at each step of progress, and only if this process is the one that is watched."""
    environ, received = manager
    service = ServiceManager({**environ, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())})
    assert service.watchdog_s == 60

    for _ in range(3):
        service.alive()
    service.stopping()
    assert [received(), received()] == ["WATCHDOG=1", "STOPPING=1"]

    ServiceManager({**environ, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}).alive()
    service.stopping()
    assert received() == "STOPPING=1"


def test_the_watchdog_waits_for_the_longest_step(manager):
    """Its time is raised if a call's deadline is longer, and never lowered."""
    environ, received = manager
    service = ServiceManager({**environ, "WATCHDOG_USEC": "3000000"})

    service.allow(2.0)
    service.allow(20.0)
    assert received() == "WATCHDOG_USEC=20000000"
    assert service.watchdog_s == 20


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@" + "x" * 500])
def test_no_manager_is_no_error(address):
    """Without an address, or with one that nobody listens on."""
    service = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "no number"})

    service.ready()
    service.alive()
    assert service.watchdog_s is None
