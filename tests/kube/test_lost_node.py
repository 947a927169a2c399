# SPDX-License-Identifier: Apache-2.0
"""A node cut off in the middle of an installation, an upgrade, an uninstallation: the others go on."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kube.cluster import ClusterError, get, helm_here
from tests.kube.setups import WIRE, sent_by, values
from tests.waiting import answered

# A node that does not respond is found to be down after 50 s, and a gateway leaves it 30 s later.
FOUND_S = 180
WAIT = ("--wait", "--timeout=70s")


def placed(mode, release, lost):
    """Return values for a mode, with the gateway on the node that will be lost, the rest elsewhere."""
    here, there = ({"kubernetes.io/hostname": name} for name in (release.node.name, lost.name))
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": [v]} for key, v in there.items()]}
    prefer = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    chosen = values(mode)
    return {
        **chosen,
        "prometheus": {"nodeSelector": here},
        "hooks": {"nodeSelector": here},
        "gateway": {**chosen.get("gateway", {}), "affinity": {"nodeAffinity": prefer}},
    }


def pods_on(release, node):
    """Return the release's pods that are bound to a node."""
    selector = f"--selector=app.kubernetes.io/instance={release.name}"
    pods = get("pods", f"--namespace={release.namespace}", selector)["items"]
    return [pod for pod in pods if pod["spec"].get("nodeName") == node.name]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["sidecar", "gateway", "agent"])
def test_install(several, lost, everywhere, mode):
    """The other nodes count, and what is not ready is named; the lost node starts when it is back."""
    release = everywhere
    others = several[:-1]
    with ThreadPoolExecutor() as pool:
        installing = pool.submit(release.install, placed(mode, release, lost), *WAIT, wait=False)
        answered(lambda: pods_on(release, lost))
        lost.cut_off()
        with pytest.raises(ClusterError, match=f"DaemonSet/{release.namespace}/{release.full} not ready"):
            installing.result()
    sent = sent_by(others)
    release.has_counted(WIRE, sent, FOUND_S)
    if mode == "sidecar":  # it tries for 90 s
        with pytest.raises(ClusterError, match=f"{lost.name}: .* has not started"):
            release.test()
    lost.bring_back()
    release.upgrade(placed(mode, release, lost))
    release.has_counted(WIRE, sent + lost.send(WIRE), FOUND_S)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["sidecar", "gateway", "agent"])
def test_upgrade(several, lost, everywhere, mode):
    """The other nodes are upgraded and stay exact; the lost one follows when it is back."""
    release = everywhere
    others = several[:-1]
    before, after = placed(mode, release, lost), placed(mode, release, lost)
    after["sidecar"] = {**after["sidecar"], "interval": 1}
    after["gateway"] = {**after["gateway"], "podAnnotations": {"example.com/note": "new"}}
    release.install(before)
    sent = sent_by(several)
    release.has_counted(WIRE, sent)
    with ThreadPoolExecutor() as pool:
        upgrading = pool.submit(release.upgrade, after, *WAIT, wait=False)
        lost.cut_off()
        with pytest.raises(ClusterError, match=f"DaemonSet/{release.namespace}/{release.full} not ready"):
            upgrading.result()
    sent += sent_by(others)
    release.has_counted(WIRE, sent, FOUND_S, also_lost=True)
    for each in others:
        (pod,) = [pod for pod in pods_on(release, each) if sidecar_of(pod)]
        assert "--interval=1" in sidecar_of(pod)["args"]
    assert f"counters arrive from {len(others)} node" in release.test()
    lost.bring_back()
    release.upgrade(after)
    release.has_counted(WIRE, sent + lost.send(WIRE), FOUND_S)


def sidecar_of(pod):
    """Return the sidecar's container of a pod, or None."""
    return next((it for it in pod["spec"]["containers"] if it["name"] == "sidecar"), None)


@pytest.mark.timeout(900)
def test_uninstall(several, lost, everywhere):
    """The lost node is named and the release stays; once it is back, a second uninstallation finishes."""
    release = everywhere
    release.install(placed("sidecar", release, lost))
    sent = sent_by(several)
    release.has_counted(WIRE, sent)
    lost.cut_off()
    with pytest.raises(ClusterError) as failed:
        helm_here("uninstall", release.name, f"--namespace={release.namespace}", "--timeout=180s")
    assert f"{lost.name}: the node does not respond" in str(failed.value)
    assert f"{len(several) - 1} of {len(several)} nodes are detached" in str(failed.value)
    helm_here("status", release.name, f"--namespace={release.namespace}")  # raises ClusterError if it is gone
    lost.bring_back()
    release.uninstall()
    assert lost.files("/var/lib/xdp-otel") == []
