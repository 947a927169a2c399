# SPDX-License-Identifier: Apache-2.0
"""A release of the chart in the cluster, and what it must leave behind: nothing."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import yaml

from tests.kube.cluster import PREFIX, ClusterError, ask, get, helm_here, kubectl
from tests.waiting import answered, settled

_OF_THE_CLUSTER = [os.environ["KUBE_VALUES"]] if os.environ.get("KUBE_VALUES") else []

METRICS = {
    "total": "xdp_xdp_packets_total",
    "bytes": "xdp_xdp_bytes_total",
} | {kind: f"xdp_xdp_packets_{kind}" for kind in ("tcp", "udp", "icmp", "other", "ipv4", "ipv6")}


class Release:
    """One release; `values` are laid over those that every test needs."""

    def __init__(self, node, name="xdp", namespace="xdp-otel-test"):
        self.node, self.name, self.namespace = node, name, namespace
        self.full = name if "xdp-otel" in name else f"{name}-xdp-otel"
        self.interfaces = []
        self.installed = False

    def install(self, values, *arguments, wait=True):
        """Install, and return when everything is ready; raise ClusterError with what Helm says."""
        self.interfaces = values.get("sidecar", {}).get("interfaces", [])
        self.installed = True
        return self._helm("install", values, arguments, wait)

    def upgrade(self, values, *arguments, wait=True):
        """Upgrade to *values*."""
        return self._helm("upgrade", values, arguments, wait)

    def _helm(self, verb, values, arguments, wait):
        common = {
            "sidecar": {"interval": 0.5, "nodeSelector": {"kubernetes.io/hostname": self.node.name}},
            "prometheus": {
                "image": {"repository": f"{PREFIX}/prometheus", "tag": "test"},
                "scrapeInterval": "1s",
            },
            "grafana": {"enabled": False},
        }
        with tempfile.TemporaryDirectory() as directory:
            files = []
            for number, one in enumerate((common, values)):
                files.append(Path(directory) / f"{number}.yaml")
                files[-1].write_text(yaml.safe_dump(one))
            chosen = [f"--values={file}" for file in (*files[:1], *_OF_THE_CLUSTER, *files[1:])]
            waiting = ["--wait", "--timeout=120s"] if wait else []
            where = f"--namespace={self.namespace}"
            return helm_here(verb, self.name, "helm", where, *arguments, *chosen, *waiting)

    def test(self):
        """Run `helm test`; return what it says."""
        return helm_here(
            "test", self.name, f"--namespace={self.namespace}", "--logs", "--timeout=120s"
        ).stdout

    def uninstall(self):
        """Uninstall, and assert that nothing is left in the cluster nor on the node."""
        if not self.installed:
            return
        self.installed = False
        helm_here("uninstall", self.name, f"--namespace={self.namespace}", "--timeout=180s")
        assert self.left() == {}

    def left(self):
        """Return what is still there, by where."""
        kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,pvc,pdb"
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        # The garbage collector may need a moment for the pods of what was deleted.
        kubectl(
            "wait",
            "pods",
            f"--namespace={self.namespace}",
            selector,
            "--for=delete",
            "--timeout=60s",
            check=False,
        )
        objects = get(kinds, f"--namespace={self.namespace}", selector)["items"]
        found = {"objects": [f"{one['kind']}/{one['metadata']['name']}" for one in objects]}
        found["state"] = [
            it for it in self.node.files("/var/lib/xdp-otel") if it == f"{self.namespace}-{self.full}"
        ]
        pins = self.node.files("/sys/fs/bpf/xdp-otel")
        found["pins"] = [one for one in self.interfaces if one in pins]
        links = {link["ifname"] for link in json.loads(self.node.run("ip", "--json", "link"))}
        found["programs"] = [one for one in self.interfaces if one in links and self.node.program_on(one)]
        return {where: names for where, names in found.items() if names}

    def query(self, promql):
        """Return the series that the release's Prometheus answers with: labels and value."""
        answer = ask(self.namespace, f"{self.full}-prometheus", 9090, "api/v1/query", query=promql)
        return [(one["metric"], one["value"][1]) for one in json.loads(answer)["data"]["result"]]

    def counted(self, interface):
        """Return what Prometheus has of an interface; nothing where it has nothing."""
        found = Counter()
        for kind, metric in METRICS.items():
            for _, value in self.query(f'{metric}{{network_interface_name="{interface}"}}'):
                found[kind] += int(value)
        return found

    def has_counted(self, interface, expected, seconds=60):
        """Assert that Prometheus comes to have exactly *expected*, in counters that never went back."""
        assert settled(lambda: self.counted(interface), expected, seconds) == expected
        resets = self.query(f'sum(resets(xdp_xdp_packets_total{{network_interface_name="{interface}"}}[1h]))')
        assert resets == [({}, "0")]

    def pod(self, component="sidecar"):
        """Return the one pod of a component that is not about to end."""
        selector = (
            f"--selector=app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        )
        pods = get("pods", f"--namespace={self.namespace}", selector)["items"]
        (pod,) = [one for one in pods if "deletionTimestamp" not in one["metadata"]]
        return pod

    def log(self, container="sidecar", *, previous=False):
        """Return the log of a container of the sidecar's pod."""
        arguments = [
            "logs",
            self.pod()["metadata"]["name"],
            f"--namespace={self.namespace}",
            f"--container={container}",
        ]
        return kubectl(*arguments, *(["--previous"] if previous else []))

    def python(self, script, container="sidecar"):
        """Return what a Python script prints in a container of the sidecar's pod."""
        name = self.pod()["metadata"]["name"]
        return kubectl(
            "exec",
            name,
            f"--namespace={self.namespace}",
            f"--container={container}",
            "--",
            "python3",
            "-c",
            script,
        )

    def wait_ready(self, component="sidecar"):
        """Return when the pod of a component is ready."""

        def ready():
            conditions = {
                one["type"]: one["status"] for one in self.pod(component)["status"].get("conditions", [])
            }
            return conditions.get("Ready") == "True"

        answered(_unless_missing(ready), 90)

    def complaint(self, containers=("check", "sidecar"), seconds=60):
        """Return the error line of a pod that does not start, from whichever container writes one."""

        def line():
            for container in containers:
                for previous in (False, True):
                    try:
                        lines = self.log(container, previous=previous).splitlines()
                    except ClusterError:
                        continue
                    errors = [text.partition("ERROR ")[2] for text in lines if "ERROR " in text]
                    if errors:
                        return errors[-1]
            return None

        return answered(_unless_missing(line), seconds)


def _unless_missing(what):
    def found():
        try:
            return what()
        except ValueError:  # no pod, or two for a moment
            return None

    return found
