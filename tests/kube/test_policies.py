# SPDX-License-Identifier: Apache-2.0
"""What docs/security.md says, as a pod of another namespace meets it. Needs enforced policies."""

import pytest

from tests.kube.cluster import get
from tests.kube.conftest import OTHER
from tests.kube.probe import Probe

OTLP, METRICS, TELEMETRY, HEALTH, STATUS, PROMETHEUS = 4317, 8889, 8888, 13133, 9464, 9090
PORTS = (OTLP, METRICS, TELEMETRY, HEALTH, STATUS, PROMETHEUS)


@pytest.fixture
def stranger(node):
    """Return a pod in another namespace."""
    with Probe(OTHER, {"app": "stranger"}, "stranger") as probe:
        yield probe


def open_to(probe, release, component="sidecar"):
    """Return the ports of a component's pod that *probe* reaches."""
    return probe.reached(release.pod(component)["status"]["podIP"], PORTS)


# Of the sidecar's pod, and of the gateway's.
@pytest.mark.parametrize(
    ("mode", "on_the_node", "on_the_gateway"),
    [
        ("sidecar", [METRICS, TELEMETRY, HEALTH, STATUS], None),
        ("gateway", [STATUS], [OTLP]),
        ("agent", [TELEMETRY, HEALTH, STATUS], [OTLP]),
    ],
)
def test_interfaces(wire, release, stranger, mode, on_the_node, on_the_gateway):
    """No policy closes a node's ports; of the gateway only OTLP is open, and Prometheus is closed."""
    release.install({"sidecar": {"interfaces": [wire]}, "collector": {"mode": mode}})
    assert open_to(stranger, release) == on_the_node
    assert open_to(stranger, release, "prometheus") == []
    if on_the_gateway is not None:
        assert open_to(stranger, release, "gateway") == on_the_gateway


def test_otlp_from(wire, release, stranger):
    """`networkPolicy.otlpFrom` closes the gateway to all but the nodes, whose sidecars still deliver."""
    nodes = [
        {"ipBlock": {"cidr": f"{address['address']}/32"}}
        for node in get("nodes")["items"]
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    ]
    release.install(
        {
            "sidecar": {"interfaces": [wire]},
            "collector": {"mode": "gateway"},
            "networkPolicy": {"otlpFrom": nodes},
        }
    )
    assert open_to(stranger, release, "gateway") == []
    assert "counters arrive" in release.test()


def test_maps_only(wire, release, other, stranger):
    """A sidecar in the pod network, and the gateway it sends to, are closed to other namespaces."""
    other.install({"sidecar": {"interfaces": [wire]}})
    release.install(
        {
            "sidecar": {"maps": [{"pin": f"/sys/fs/bpf/xdp-otel/{wire}/stats_map"}]},
            "collector": {"mode": "gateway"},
        }
    )
    assert [open_to(stranger, release, pod) for pod in ("sidecar", "gateway", "prometheus")] == [[], [], []]
    assert "counters arrive" in release.test()


def test_allow_from(wire, release, stranger):
    """`networkPolicy.allowFrom` lets a Prometheus of another namespace in, as the documentation shows."""
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": OTHER}}}
    release.install(
        {
            "sidecar": {"interfaces": [wire]},
            "collector": {"mode": "gateway"},
            "networkPolicy": {"allowFrom": [there]},
        }
    )
    assert open_to(stranger, release, "gateway") == [OTLP, METRICS, TELEMETRY]
    assert open_to(stranger, release, "prometheus") == [PROMETHEUS]


@pytest.mark.parametrize("component", ["prometheus", "gateway"])
def test_egress(wire, release, stranger, component):
    """Neither Prometheus nor a gateway reaches what it need not."""
    release.install({"sidecar": {"interfaces": [wire]}, "collector": {"mode": "gateway"}})
    labels = release.pod(component)["metadata"]["labels"]
    # Without the hash: a ReplicaSet would take the pod for one of its own.
    labels = {key: value for key, value in labels.items() if key != "pod-template-hash"}
    api = get("service", "kubernetes", "--namespace=default")["spec"]["clusterIP"]
    with Probe(release.namespace, labels, "posing") as probe:
        assert probe.reached(api, [443]) == []
