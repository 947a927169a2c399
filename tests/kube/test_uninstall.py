# SPDX-License-Identifier: Apache-2.0
"""Uninstallations that cannot finish: the release stays, and a second one finishes the work."""

import json

import pytest

from tests.kube.cluster import ClusterError, get, helm_here, kubectl
from tests.kube.conftest import POD_SECURITY
from tests.waiting import answered


def refused(release):
    """Uninstall, which must fail and keep the release; return Helm's message."""
    with pytest.raises(ClusterError) as failed:
        helm_here("uninstall", release.name, f"--namespace={release.namespace}", "--timeout=120s")
    helm_here("status", release.name, f"--namespace={release.namespace}")  # raises ClusterError if it is gone
    return str(failed.value)


@pytest.fixture
def quota(release):
    """Return a function that demands limits.cpu of every pod of the namespace."""
    hard = {"limits.cpu": "100"}
    made = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}

    def demand():
        kubectl("apply", f"--namespace={release.namespace}", "--filename=-", stdin=json.dumps(made))
        answered(lambda: get("quota", "q", f"--namespace={release.namespace}").get("status", {}).get("hard"))

    yield demand
    kubectl("delete", "quota", "q", f"--namespace={release.namespace}", "--ignore-not-found")


def test_quota(node, wire, release, quota):
    """A quota that came later refuses the hook's pod: Helm says so at once, and the second try finishes."""
    release.install({"sidecar": {"interfaces": [wire]}})
    sent = node.send(wire)
    release.has_counted(wire, sent)
    quota()
    assert "must specify limits.cpu" in refused(release)
    assert node.program_on(wire)
    kubectl("delete", "quota", "q", f"--namespace={release.namespace}")
    release.uninstall()


def test_quota_and_limits(node, wire, release, quota):
    """With helm/values-limits.yaml all of it runs under such a quota, `helm test` and uninstallation too."""
    quota()
    release.install({"sidecar": {"interfaces": [wire]}}, "--values=helm/values-limits.yaml")
    release.has_counted(wire, node.send(wire))
    assert "counters arrive" in release.test()
    release.uninstall()


def test_pod_security(node, wire, release):
    """Without the namespace's label no pod may detach: the cause is named, and the second try finishes."""
    release.install({"sidecar": {"interfaces": [wire]}})
    kubectl("label", "namespace", release.namespace, f"{POD_SECURITY}=baseline", "--overwrite")
    try:
        message = refused(release)
    finally:
        kubectl("label", "namespace", release.namespace, f"{POD_SECURITY}=privileged", "--overwrite")
    assert "violates PodSecurity" in message
    release.uninstall()


@pytest.mark.parametrize("mode", ["sidecar", "gateway", "agent"])
def test_default_deny(node, wire, release, mode):
    """In a namespace that denies all traffic the chart works, `helm test` and uninstallation included."""
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
    kubectl("apply", f"--namespace={release.namespace}", "--filename=-", stdin=json.dumps(deny))
    try:
        release.install({"sidecar": {"interfaces": [wire]}, "collector": {"mode": mode}})
        assert "counters arrive" in release.test()
        release.uninstall()
    finally:
        kubectl("delete", "networkpolicy", "default-deny", f"--namespace={release.namespace}")
