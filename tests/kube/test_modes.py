# SPDX-License-Identifier: Apache-2.0
"""Other setups: external Collectors, TLS, agents and gateways, maps of other programs, custom values."""

from tests.kube.cluster import get, kubectl
from tests.kube.node import arrived
from tests.waiting import answered, settled


def replace_pod(release, component):
    """Delete the pod of a component without grace and wait for its successor."""
    pod = release.pod(component)["metadata"]
    kubectl("delete", "pod", pod["name"], f"--namespace={release.namespace}", "--force", "--grace-period=0")
    answered(lambda: release.pod(component)["metadata"]["uid"] != pod["uid"])
    release.wait_ready(component)


def secrets(release):
    """Return the data of the release's Secrets, by name."""
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    items = get("secrets", f"--namespace={release.namespace}", selector)["items"]
    return {item["metadata"]["name"]: item["data"] for item in items}


def test_gateway_with_tls(node, wire, release):
    """One Collector for all nodes over mTLS; upgrades keep the generated certificates."""
    values = {"sidecar": {"interfaces": [wire]}, "collector": {"mode": "gateway"}, "tls": {"enabled": True}}
    release.install(values)
    drawn = secrets(release)
    assert set(drawn) == {f"{release.full}-tls-server", f"{release.full}-tls-client"}
    assert "(TLS)" in release.log()
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    answered(lambda: release.counted(wire)["total"])
    replace_pod(release, "gateway")
    replace_pod(release, "sidecar")
    sent = arrived(sender.communicate(timeout=120)[0])
    release.has_counted(wire, sent, 90)
    release.upgrade({**values, "clusterName": "fra1"})
    assert secrets(release) == drawn
    sent += node.send(wire)
    release.has_counted(wire, sent)
    assert "counters arrive" in release.test()


def test_agents_and_gateways(node, wire, release):
    """An agent on the node, two gateways, remote write: exact although gateways end under traffic."""
    values = {"sidecar": {"interfaces": [wire]}, "gateway": {"replicas": 2}}
    release.install(values, "--values=helm/values-gateway.yaml")
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    answered(lambda: release.counted(wire)["total"])
    selector = f"--selector=app.kubernetes.io/instance={release.name},app.kubernetes.io/component=gateway"
    kubectl("delete", "pods", f"--namespace={release.namespace}", selector, "--force", "--grace-period=0")
    release.has_counted(wire, arrived(sender.communicate(timeout=120)[0]), 120)
    assert "counters arrive" in release.test()


def test_autoscaled_gateways(node, wire, release):
    """More gateways under traffic, by the autoscaler's minimum: exact, and an upgrade leaves their number."""

    def scaled(minimum):
        return {
            "sidecar": {"interfaces": [wire]},
            "collector": {"mode": "agent"},
            "gateway": {"autoscaling": {"enabled": True, "minReplicas": minimum}},
        }

    def ready():
        gateways = get("deployment", f"{release.full}-gateway", f"--namespace={release.namespace}")
        return gateways["status"].get("readyReplicas", 0)

    release.install(scaled(1))
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    answered(lambda: release.counted(wire)["total"])
    release.upgrade(scaled(3))
    assert settled(ready, 3) == 3
    release.has_counted(wire, arrived(sender.communicate(timeout=120)[0]), 120)
    release.upgrade({**scaled(3), "clusterName": "fra1"})
    assert ready() == 3


def test_pin_of_another_program(node, wire, release, other):
    """A pinned map is read exactly, with CAP_BPF alone and outside the node's network."""
    release.install({"sidecar": {"interfaces": [wire]}})
    other.install({"sidecar": {"maps": [{"pin": f"/sys/fs/bpf/xdp-otel/{wire}/stats_map"}]}})
    pod = other.pod()["spec"]
    assert "hostNetwork" not in pod
    (sidecar,) = (container for container in pod["containers"] if container["name"] == "sidecar")
    assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["BPF"]}
    sent = node.send(wire)
    release.has_counted(wire, sent)
    # A pin has no interface.
    answered(lambda: other.counted("")["total"])
    before = other.counted("")
    added = node.send(wire)
    other.has_counted("", before + added)


def test_existing_collector(node, wire, second_wire, release, other):
    """A release without Collector and Prometheus exports to another release's Collector."""
    release.install({"sidecar": {"interfaces": [wire]}, "collector": {"mode": "gateway"}})
    endpoint = f"http://{release.full}-gateway.{release.namespace}.svc:4317"
    other.install(
        {
            "sidecar": {"interfaces": [second_wire]},
            "collector": {"mode": "none", "endpoint": endpoint, "basePoint": True},
            "ports": {"status": 19464},
            "prometheus": {"enabled": False},
        }
    )
    sent, second = node.send(wire), node.send(second_wire, rounds=100)
    release.has_counted(wire, sent)
    release.has_counted(second_wire, second)
    assert "counters arrive" in other.test()


def test_custom_values(node, wire, release):
    """A configuration file, a state directory, a name, data on the node, TLS beside the sidecar."""
    release.full = "packets"
    release.state = "/var/lib/xdp-otel-own/packets"
    values = {
        "fullnameOverride": "packets",
        "commonLabels": {"team": "net"},
        "sidecar": {
            "config": {"sources": [{"interface": wire, "attributes": {"site": "fra1"}}]},
            "state": {"hostPath": release.state},
            "extraArgs": ["--debug"],
            "podLabels": {"tier": "node"},
        },
        "ports": {"otlp": 14317, "metrics": 18889, "telemetry": 18888, "health": 23133, "status": 19464},
        "tls": {"enabled": True},
        "collector": {"extraConfig": {"processors": {"delta_to_cumulative": {"max_streams": 1000}}}},
    }
    release.install(values)
    release.interfaces = [wire]
    sent = node.send(wire)
    release.has_counted(wire, sent)
    ((labels, _),) = release.query(f'xdp_xdp_packets_total{{network_interface_name="{wire}"}}')
    assert labels["site"] == "fra1"
    assert "journal" in node.files(release.state)
    assert release.pod()["metadata"]["labels"]["tier"] == "node"
    values["sidecar"]["config"]["sources"][0]["attributes"] = {"site": "fra2"}
    release.upgrade(values)
    added = node.send(wire)
    answered(lambda: release.query('xdp_xdp_packets_total{site="fra2"}'))
    ((_, total),) = answered(
        lambda: release.query(f"xdp_xdp_packets_total{{site='fra2'}} >= {added['total']}")
    )
    assert int(total) >= added["total"]
    release.uninstall()
    node.run("rmdir", "/var/lib/xdp-otel-own")  # empty, or it fails
