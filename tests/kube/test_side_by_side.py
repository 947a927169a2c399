# SPDX-License-Identifier: Apache-2.0
"""Two releases on one node."""

import pytest

PORTS = {"otlp": 14317, "metrics": 18889, "telemetry": 18888, "health": 23133, "status": 19464}


@pytest.fixture
def second_wire(node):
    """Return the name of one more interface of the node."""
    name = node.wire("xdpt1")
    yield name
    node.cut(name)


def test_two_releases(node, wire, second_wire, release, other):
    """Each counts its own interface; one goes, and the other does not notice."""
    release.install({"sidecar": {"interfaces": [wire]}})
    other.install({"sidecar": {"interfaces": [second_wire]}, "ports": PORTS})
    sent, second = node.send(wire), node.send(second_wire, rounds=50)
    release.has_counted(wire, sent)
    other.has_counted(second_wire, second)
    release.uninstall()
    second += node.send(second_wire, rounds=50)
    other.has_counted(second_wire, second)
    assert node.files("/sys/fs/bpf/xdp-otel") != []


def test_same_interface(node, wire, release, other):
    """An interface that another release counts on is refused, by name, and that one counts on."""
    release.install({"sidecar": {"interfaces": [wire]}})
    other.install({"sidecar": {"interfaces": [wire]}, "ports": PORTS}, wait=False)
    assert f"attach to {wire}: another sidecar counts there" in other.complaint()
    # It must not take away what is not its own.
    other.interfaces = []
    other.uninstall()
    sent = node.send(wire)
    release.has_counted(wire, sent)
