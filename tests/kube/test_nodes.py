# SPDX-License-Identifier: Apache-2.0
"""Several nodes: from mode to mode under traffic, and what `helm test` finds."""

from collections import Counter

import pytest

from tests.kube.cluster import ClusterError
from tests.kube.node import arrived
from tests.kube.setups import WIRE, sent_by, values

# Each of the twelve ways from one mode to another, once.
WAY = ("sidecar", "gateway", "sidecar", "agent", "sidecar", "none", "gateway", "agent", "gateway", "none")
WAY = (*WAY, "agent", "none", "sidecar")


@pytest.mark.timeout(2400)
def test_every_change_of_mode(several, everywhere):
    """Twelve changes of `collector.mode` under traffic on every node: exact after each, without a reset."""
    release = everywhere
    release.install(values(WAY[0]))
    sent = sent_by(several)
    release.has_counted(WIRE, sent)
    for mode in WAY[1:]:
        senders = [each.begin_to_send(WIRE, rounds=1000, per_second=800) for each in several]
        release.upgrade(values(mode))
        sent += sum((arrived(sender.communicate(timeout=120)[0]) for sender in senders), Counter())
        # Prometheus reads its changed configuration within a minute or two.
        release.has_counted(WIRE, sent, 180)


def test_test_asks_every_node(several, everywhere):
    """`helm test` passes with every node, and names the one whose sidecar does not run."""
    release = everywhere
    release.install(values("sidecar"))
    assert f"counters arrive from {len(several)} nodes" in release.test()
    release.uninstall()
    several[1].cut(WIRE)
    release.install(values("sidecar"), wait=False)
    with pytest.raises(ClusterError) as failed:
        release.test()
    several[1].wire(WIRE)
    # Before that, its log has what was still missing on the way; after it, Helm repeats the log.
    missing = str(failed.value).partition("after 90 s:")[2].partition("level=INFO")[0]
    assert f"{several[1].name}: " in missing
    assert f"{several[0].name}: " not in missing


@pytest.mark.parametrize(
    ("mode", "broken", "complaint"),
    [
        ("none", {}, "no batch was acknowledged yet"),
        (
            "agent",
            {"gateway": {"remoteWrite": {"url": "http://192.0.2.1:9090/api/v1/write"}}},
            "the agent's queue holds",
        ),
    ],
)
def test_test_fails(node, wire, release, mode, broken, complaint):
    """A refused endpoint, and a remote write to nowhere, fail `helm test`, which names the node."""
    release.install({**values(mode), **broken, "sidecar": {"interfaces": [wire]}}, wait=False)
    node.send(wire, rounds=1)
    with pytest.raises(ClusterError) as failed:
        release.test()
    assert f"{node.name}: {complaint}" in str(failed.value)


def test_nothing_of_the_test_stays(node, wire, release):
    """The pod of a failed test is gone after the uninstallation."""
    release.install({**values("none"), "sidecar": {"interfaces": [wire]}}, wait=False)
    with pytest.raises(ClusterError):
        release.test()
    release.uninstall()
