# SPDX-License-Identifier: Apache-2.0
"""Two releases on one node."""

from tests.kube.cluster import helm_here
from tests.kube.node import OTHER

PORTS = {"otlp": 14317, "metrics": 18889, "telemetry": 18888, "health": 23133, "status": 19464}


def test_two_releases(node, wire, second_wire, release, other):
    """Each counts its own interface; uninstalling one does not affect the other."""
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
    """An interface that another release uses is rejected by name, and that release keeps counting."""
    release.install({"sidecar": {"interfaces": [wire]}})
    other.install({"sidecar": {"interfaces": [wire]}, "ports": PORTS}, wait=False)
    assert f"attach to {wire}: another sidecar counts there" in other.complaint()
    # It must not remove the other release's program.
    other.interfaces = []
    other.uninstall()
    sent = node.send(wire)
    release.has_counted(wire, sent)


def test_objects_in_another_namespace(node, wire, release):
    """With `namespaceOverride` everything works, and ends, in a namespace that is not the release's."""
    release.namespace = OTHER
    values = {"sidecar": {"interfaces": [wire]}, "namespaceOverride": OTHER}
    release.install(values)
    sent = node.send(wire)
    release.has_counted(wire, sent)
    helm_here("test", release.name, f"--namespace={release.home}", "--timeout=120s")
    release.upgrade({**values, "clusterName": "fra1"})
    sent += node.send(wire)
    release.has_counted(wire, sent)
