# SPDX-License-Identifier: Apache-2.0
"""A release of the chart in the cluster, which must leave nothing behind."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import yaml

from tests.kube.cluster import PREFIX, ClusterError, ask, get, helm_here, kubectl
from tests.waiting import answered, settled

_OF_THE_CLUSTER = [os.environ["KUBE_VALUES"]] if os.environ.get("KUBE_VALUES") else []

# The checkout's, or an archive of it.
CHART = os.environ.get("KUBE_CHART", "helm")

METRICS = {
    "total": "xdp_xdp_packets_total",
    "bytes": "xdp_xdp_bytes_total",
} | {kind: f"xdp_xdp_packets_{kind}" for kind in ("tcp", "udp", "icmp", "other", "ipv4", "ipv6")}


class Release:
    """One release; `values` override those common to all tests."""

    def __init__(self, node, name="xdp", namespace="xdp-otel-test"):
        self.node, self.name, self.namespace = node, name, namespace
        # Helm's own record stays here if a test moves the objects (`namespaceOverride`).
        self.home = namespace
        self.full = name if "xdp-otel" in name else f"{name}-xdp-otel"
        self.interfaces = []
        self.installed = False
        self.selector = {"kubernetes.io/hostname": node.name}

    def install(self, values, *arguments, wait=True):
        """Install and wait until everything is ready; raise ClusterError with Helm's message."""
        self.interfaces = values.get("sidecar", {}).get("interfaces", [])
        self.installed = True
        return self._helm("install", values, arguments, wait)

    def upgrade(self, values, *arguments, wait=True):
        """Upgrade to *values*."""
        return self._helm("upgrade", values, arguments, wait)

    def _helm(self, verb, values, arguments, wait):
        common = {
            "sidecar": {"interval": 0.5, "nodeSelector": self.selector},
            "prometheus": {
                "image": {"repository": f"{PREFIX}/prometheus", "tag": "test"},
                "scrapeInterval": "1s",
            },
            "grafana": {"enabled": False},
        }
        with tempfile.TemporaryDirectory() as directory:
            files = []
            for number, content in enumerate((common, values)):
                files.append(Path(directory) / f"{number}.yaml")
                files[-1].write_text(yaml.safe_dump(content))
            chosen = [f"--values={file}" for file in (*files[:1], *_OF_THE_CLUSTER, *files[1:])]
            waiting = ["--wait", "--timeout=120s"] if wait else []
            where = f"--namespace={self.home}"
            return helm_here(verb, self.name, CHART, where, *arguments, *chosen, *waiting)

    def test(self):
        """Run `helm test`; return its output, and raise ClusterError with it if the test fails."""
        done = helm_here(
            "test", self.name, f"--namespace={self.home}", "--logs", "--timeout=120s", check=False
        )
        if done.returncode != 0:
            raise ClusterError(done.stdout + done.stderr)
        return done.stdout

    def uninstall(self):
        """Uninstall, and assert that nothing is left in the cluster or on the node."""
        if not self.installed:
            return
        self.installed = False
        helm_here("uninstall", self.name, f"--namespace={self.home}", "--timeout=180s")
        assert self.left() == {}

    def left(self):
        """Return what is left, by place."""
        kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,networkpolicies,pvc,pdb,hpa"
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        # The garbage collector may need a moment for the pods of deleted objects.
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
        left = {"objects": [f"{item['kind']}/{item['metadata']['name']}" for item in objects]}
        left["state"] = [
            name for name in self.node.files("/var/lib/xdp-otel") if name == f"{self.namespace}-{self.full}"
        ]
        pins = self.node.files("/sys/fs/bpf/xdp-otel")
        left["pins"] = [interface for interface in self.interfaces if interface in pins]
        links = {link["ifname"] for link in json.loads(self.node.run("ip", "--json", "link"))}
        present = [interface for interface in self.interfaces if interface in links]
        left["programs"] = [interface for interface in present if self.node.program_on(interface)]
        return {where: names for where, names in left.items() if names}

    def query(self, promql):
        """Query the release's Prometheus; return labels and value of each series."""
        answer = ask(self.namespace, f"{self.full}-prometheus", 9090, "api/v1/query", query=promql)
        return [(series["metric"], series["value"][1]) for series in json.loads(answer)["data"]["result"]]

    def counted(self, interface, *, also_lost=False):
        """Return Prometheus' counts for an interface, with *also_lost* also those of lost nodes."""
        counts = Counter()
        for kind, metric in METRICS.items():
            series = f'{metric}{{network_interface_name="{interface}"}}'
            for _, value in self.query(f"last_over_time({series}[1h])" if also_lost else series):
                counts[kind] += int(value)
        return counts

    def has_counted(self, interface, expected, seconds=60, *, also_lost=False):
        """Assert that Prometheus reaches exactly *expected*, without a counter reset."""
        counted = settled(lambda: self.counted(interface, also_lost=also_lost), expected, seconds)
        assert counted == expected
        resets = self.query(f'sum(resets(xdp_xdp_packets_total{{network_interface_name="{interface}"}}[1h]))')
        assert resets == [({}, "0")]

    def pod(self, component="sidecar"):
        """Return the only pod of a component that is not terminating."""
        selector = (
            f"--selector=app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        )
        pods = get("pods", f"--namespace={self.namespace}", selector)["items"]
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
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
        """Run a Python script in a container of the sidecar's pod; return its output."""
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
        """Wait until the pod of a component is ready."""

        def ready():
            conditions = {
                condition["type"]: condition["status"]
                for condition in self.pod(component)["status"].get("conditions", [])
            }
            return conditions.get("Ready") == "True"

        answered(_unless_missing(ready), 90)

    def complaint(self, containers=("check", "sidecar"), seconds=60):
        """Return the error line of a pod that does not start, from the first container that logs one."""

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
