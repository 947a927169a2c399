# SPDX-License-Identifier: Apache-2.0
"""Installation, upgrade, crashes and uninstallation on a real cluster, exact to the packet."""

import json
from collections import Counter

from tests.kube.cluster import PREFIX, ask, get, helm_here, kubectl
from tests.kube.node import arrived
from tests.kube.release import METRICS
from tests.waiting import answered


def test_install(node, wire, release):
    """After `helm install --wait` Prometheus shows what was sent, and `helm test` agrees."""
    notes = release.install({"sidecar": {"interfaces": [wire]}}).stdout
    assert f"it counts on {wire} of every node" in notes
    sent = node.send(wire)
    assert set(sent) == set(METRICS)
    release.has_counted(wire, sent)
    assert "counters arrive" in release.test()
    sent += node.send(wire, rounds=1)
    release.has_counted(wire, sent)


def test_rights(wire, release):
    """The sidecar has two capabilities, a seccomp filter and no service account token."""
    release.install({"sidecar": {"interfaces": [wire]}})
    lines = release.python("print(open('/proc/1/status').read())").splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    bpf, net_admin = 39, 12
    assert int(status["CapEff"], 16) == 1 << bpf | 1 << net_admin
    assert int(status["CapBnd"], 16) == 1 << bpf | 1 << net_admin
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert release.python("import os; print(os.path.exists('/var/run/secrets'))").strip() == "False"
    refused = (
        "import pathlib\ntry: pathlib.Path('/x').touch()\nexcept OSError as error: print(error.strerror)"
    )
    assert release.python(refused).strip() == "Read-only file system"


def test_attributes(wire, node, release):
    """target_info has node, pod, namespace and cluster; the instance id comes from the state directory."""
    release.install(
        {"clusterName": "fra 1", "sidecar": {"interfaces": [wire], "resourceAttributes": {"rack": "7, left"}}}
    )
    node.send(wire, rounds=1)
    ((labels, _),) = answered(lambda: release.query("xdp_target_info"))
    pod = release.pod()
    assert labels["k8s_node_name"] == labels["host_name"] == node.name
    assert labels["k8s_pod_name"] == pod["metadata"]["name"]
    assert labels["k8s_pod_uid"] == pod["metadata"]["uid"]
    assert labels["k8s_namespace_name"] == release.namespace
    assert (labels["k8s_cluster_name"], labels["rack"]) == ("fra 1", "7, left")
    state = f"/var/lib/xdp-otel/{release.namespace}-{release.full}/instance-id"
    assert labels["instance"] == node.run("cat", state).strip()


def test_upgrade_under_traffic(node, wire, release):
    """An upgrade replaces sidecar and Collector under traffic: exact before and after, without a reset."""
    release.install({"sidecar": {"interfaces": [wire]}})
    sent = node.send(wire)
    release.has_counted(wire, sent)
    before = release.pod()["metadata"]["uid"]
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    release.upgrade({"sidecar": {"interfaces": [wire], "interval": 1}, "collector": {"memoryLimitMiB": 300}})
    assert release.pod()["metadata"]["uid"] != before
    during = release.counted(wire)
    sent += arrived(sender.communicate(timeout=120)[0])
    assert during["total"] < sent["total"]
    release.has_counted(wire, sent)


def test_pod_replaced(node, wire, release):
    """A pod deleted without grace under traffic is replaced; nothing is lost or counted twice."""
    release.install({"sidecar": {"interfaces": [wire]}})
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    answered(lambda: release.counted(wire)["total"])
    pod = release.pod()["metadata"]
    kubectl("delete", "pod", pod["name"], f"--namespace={release.namespace}", "--force", "--grace-period=0")
    answered(lambda: release.pod()["metadata"]["uid"] != pod["uid"])
    release.wait_ready()
    release.has_counted(wire, arrived(sender.communicate(timeout=120)[0]))


def test_crashes(node, wire, release):
    """Sidecar and Collector are killed in turn under traffic and restart in place."""
    release.install({"sidecar": {"interfaces": [wire]}})
    sender = node.begin_to_send(wire, rounds=4000, per_second=1600)
    for words in (("run", f"--interface={wire}"), ("--config=/etc/otelcol-xdp/config.yaml",)):
        answered(lambda: release.counted(wire)["total"])
        assert node.kill(*words) == 1
        release.wait_ready()
    release.has_counted(wire, arrived(sender.communicate(timeout=120)[0]), 90)
    restarts = {
        status["name"]: status["restartCount"] for status in release.pod()["status"]["containerStatuses"]
    }
    assert restarts == {"sidecar": 1, "collector": 1}


def test_rollback(node, wire, release):
    """`helm rollback` continues the counters, as an upgrade does."""
    release.install({"sidecar": {"interfaces": [wire]}})
    sent = node.send(wire)
    release.upgrade({"sidecar": {"interfaces": [wire], "podAnnotations": {"example.com/note": "new"}}})
    sent += node.send(wire)
    release.has_counted(wire, sent)
    helm_here("rollback", release.name, "1", f"--namespace={release.namespace}", "--wait", "--timeout=120s")
    sent += node.send(wire)
    release.has_counted(wire, sent)


def test_detach_can_be_left_out(node, wire, release):
    """With detachOnUninstall false the kernel keeps counting, and the next release takes over."""
    kept = {"sidecar": {"interfaces": [wire]}, "detachOnUninstall": False}
    release.install(kept)
    sent = node.send(wire)
    release.has_counted(wire, sent)
    helm_here("uninstall", release.name, f"--namespace={release.namespace}", "--wait", "--timeout=120s")
    state = f"{release.namespace}-{release.full}"
    assert release.left() == {"state": [state], "pins": [wire], "programs": [wire]}
    sent += node.send(wire)
    release.install({"sidecar": {"interfaces": [wire]}})
    release.has_counted(wire, sent)


def test_grafana(node, wire, release):
    """
    Datasource, provider and dashboards lie where Grafana reads them; its password is kept by upgrades.

    A stand-in for Grafana's image, which is not available here, reports the files it finds; it draws nothing.
    """
    stand_in = {"repository": f"{PREFIX}/grafana-stand-in", "tag": "test"}
    release.install({"sidecar": {"interfaces": [wire]}, "grafana": {"enabled": True, "image": stand_in}})
    report = json.loads(answered(lambda: ask(release.namespace, f"{release.full}-grafana", 3000, "files")))
    files = report["files"]
    assert report["writable"]
    url = f"http://{release.full}-prometheus.{release.namespace}.svc:9090"
    assert f"url: {url}" in files["/etc/grafana/provisioning/datasources/xdp.yaml"]
    folder = "/var/lib/grafana/dashboards/xdp"
    assert f"path: {folder}" in files["/etc/grafana/provisioning/dashboards/xdp.yaml"]
    titles = {
        json.loads(text)["title"]
        for path, text in files.items()
        if path.startswith(folder) and path.endswith(".json")
    }
    assert "XDP overview" in titles
    secret = get("secret", f"{release.full}-grafana", f"--namespace={release.namespace}")["data"]
    release.upgrade({"sidecar": {"interfaces": [wire]}, "grafana": {"enabled": True, "image": stand_in}})
    assert get("secret", f"{release.full}-grafana", f"--namespace={release.namespace}")["data"] == secret


def test_prometheus_knows_the_rules(wire, release):
    """The chart's alerts and recording rules are loaded, and none fails."""
    release.install({"sidecar": {"interfaces": [wire]}})

    def groups():
        answer = json.loads(ask(release.namespace, f"{release.full}-prometheus", 9090, "api/v1/rules"))
        return answer["data"]["groups"]

    def evaluated():
        return all(group["lastEvaluation"] > "2" for group in groups())

    answered(evaluated, 90)
    health = Counter(rule["health"] for group in groups() for rule in group["rules"])
    assert set(health) == {"ok"}
