# SPDX-License-Identifier: Apache-2.0
"""Setups that cannot work: the message names the wrong value or the missing privilege, and the remedy."""

import json

import pytest

from tests.kube.cluster import ClusterError, helm_here


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sidecar": {"interface": "eth0"}}, "at '/sidecar': additional properties 'interface' not allowed"),
        ({"sidecar": {"interval": "10s"}}, 'sidecar.interval: "10s" is not a number of seconds'),
        ({"collector": {"mode": "none"}}, "collector.mode: none, but no collector.endpoint"),
        (
            {"collector": {"mode": "gateway"}, "gateway": {"replicas": 2}},
            "gateway.replicas: with collector.mode",
        ),
    ],
)
def test_wrong_values(release, values, said):
    """Wrong values are rejected before anything is installed."""
    with pytest.raises(ClusterError, match=r"INSTALLATION FAILED|values don't meet") as refused:
        release.install(values)
    release.installed = False
    assert said in str(refused.value)
    listed = helm_here("list", f"--namespace={release.namespace}", "--output=json").stdout
    assert json.loads(listed) == []


def test_no_such_interface(release):
    """The log of the pod that does not start names the missing interface."""
    release.install({"sidecar": {"interfaces": ["nosuch0"]}}, wait=False)
    assert release.complaint() == ("cannot attach to nosuch0: no such interface: `ip link` shows the names")


def test_missing_capability(wire, release):
    """Without CAP_BPF the log names the missing capability."""
    release.install({"sidecar": {"interfaces": [wire], "capabilities": ["NET_ADMIN"]}}, wait=False)
    complaint = release.complaint()
    assert ("CAP_BPF" in complaint, "EPERM" in complaint) == (True, True), complaint
    release.upgrade({"sidecar": {"interfaces": [wire]}})
    release.wait_ready()


@pytest.fixture
def no_bpffs(node):
    """Hide the node's bpffs; unmount whatever covers it at the end."""
    node.run("mount", "-t", "tmpfs", "none", "/sys/fs/bpf")
    yield
    node.uncover_bpffs()


def test_no_bpffs(node, wire, no_bpffs, release):
    """A missing bpffs is reported; with bpffs.mount it is mounted, and counts are exact."""
    release.install({"sidecar": {"interfaces": [wire]}}, wait=False)
    assert release.complaint() == (
        f"cannot attach to {wire}: no bpffs at /sys/fs/bpf: mount -t bpf bpf /sys/fs/bpf"
    )
    release.upgrade({"sidecar": {"interfaces": [wire]}, "bpffs": {"mount": True}})
    assert node.run("stat", "--file-system", "--format=%T", "/sys/fs/bpf").strip() == "bpf_fs"
    sent = node.send(wire)
    release.has_counted(wire, sent)
    release.uninstall()
