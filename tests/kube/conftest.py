# SPDX-License-Identifier: Apache-2.0
"""
Tests on a real cluster: `make test-kube`, with

KUBECONFIG    the cluster; the tests make interfaces on its first node, and for a moment hide its bpffs
IMAGE_LOAD    the command that brings an image archive into it: `kind load image-archive`,
              `k3s ctr images import`, …; the path is appended. Without it the images must be there
IMAGE_DIR     where the archives (*.tar) are, .build/images by default
NODE_DOWN     the command that cuts a node off: `docker stop`, …; the name is appended. Without it, tests skip
NODE_UP       the command that starts it again: `docker start`, …
IMAGE_PREFIX  what the images' names begin with, localhost by default
KUBE_CHART    the chart: `dist/xdp-otel-X.Y.Z.tgz`, an `oci://` address, …; the checkout's by default
KUBE_VALUES   a values file below those of the tests, for what the cluster needs
"""

import os
import shlex
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.chart.chart import ROOT
from tests.kube.cluster import get, helm_here, kubectl
from tests.kube.node import NAMESPACE, OTHER, Node, power_on
from tests.kube.probe import Probe
from tests.kube.release import Release

collect_ignore_glob = [] if os.environ.get("XDP_OTEL_TEST_KUBE") else ["test_*.py"]

POD_SECURITY = "pod-security.kubernetes.io/enforce"


@pytest.fixture(scope="session")
def nodes():
    """Return the nodes, with the images loaded."""
    names = [item["metadata"]["name"] for item in get("nodes")["items"]]
    for name in names if "NODE_UP" in os.environ else ():
        power_on(name)  # of a run that was aborted
    load = shlex.split(os.environ.get("IMAGE_LOAD", ""))
    archives = Path(os.environ.get("IMAGE_DIR", ROOT / ".build/images"))
    for archive in sorted(archives.glob("*.tar")) if load else ():
        subprocess.run([*load, str(archive)], check=True, capture_output=True)
    remove_namespaces()  # of a run that was aborted
    for namespace in (NAMESPACE, OTHER):
        kubectl("create", "namespace", namespace)
        # Some clusters do not allow the sidecar's privileges by default.
        kubectl("label", "namespace", namespace, f"{POD_SECURITY}=privileged")
    with ExitStack() as cleanup:
        cleanup.callback(remove_namespaces)
        made = [cleanup.enter_context(Node(name)) for name in names]
        for each in made:
            each.uncover_bpffs()
        for namespace in (NAMESPACE, OTHER):
            cleanup.enter_context(Probe(namespace, {"app": "probe"}, node=names[0]))
        yield made


def remove_namespaces():
    """Delete the namespaces of the tests; nothing in them needs its grace."""
    for namespace in (NAMESPACE, OTHER):
        kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s")


@pytest.fixture
def node(nodes):
    """Return the node that most tests use."""
    return nodes[0]


@pytest.fixture
def several(nodes):
    """Return the nodes, at least two, each with an interface xdpt0."""
    if len(nodes) < 2:
        pytest.skip("the cluster has one node")
    for each in nodes:
        each.wire("xdpt0")
    yield nodes
    for each in nodes:
        each.cut("xdpt0")


def move_dns_from(node):
    """Move the cluster's DNS to other nodes: a test without it would show only that."""
    dns = ("--namespace=kube-system", "--selector=k8s-app=kube-dns")
    kubectl("cordon", node)
    kubectl("delete", "pods", *dns, f"--field-selector=spec.nodeName={node}", "--wait")
    kubectl("wait", "pods", *dns, "--for=condition=Ready", "--timeout=60s")
    kubectl("uncordon", node)


@pytest.fixture
def lost(several):
    """Return the last node, for the test to cut off; it is brought back at the end."""
    if not {"NODE_DOWN", "NODE_UP"} <= os.environ.keys():
        pytest.skip("NODE_DOWN and NODE_UP are not set")
    move_dns_from(several[-1].name)
    yield several[-1]
    if several[-1].is_cut_off:
        several[-1].bring_back()


@pytest.fixture
def wire(node):
    """Return the name of an interface of the node that receives only a test's frames."""
    name = node.wire("xdpt0")
    yield name
    node.cut(name)


@pytest.fixture
def second_wire(node):
    """Return the name of a second interface of the node."""
    name = node.wire("xdpt1")
    yield name
    node.cut(name)


@contextmanager
def uninstalled(release):
    """Uninstall a release at the end, which must leave nothing; force it if that fails."""
    yield release
    try:
        release.uninstall()
    finally:
        helm_here(
            "uninstall",
            release.name,
            f"--namespace={release.home}",
            "--no-hooks",
            "--ignore-not-found",
            check=False,
        )


@pytest.fixture
def release(node):
    """Return a release before its installation; it is uninstalled at the end and must leave nothing."""
    with uninstalled(Release(node)) as made:
        yield made


@pytest.fixture
def everywhere(several, release):
    """Return a release on every node."""
    release.selector = {}
    return release


@pytest.fixture
def other(node):
    """Return a second release in its own namespace."""
    with uninstalled(Release(node, "second", OTHER)) as made:
        yield made
