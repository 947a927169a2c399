# SPDX-License-Identifier: Apache-2.0
"""
Verify that the counts of every node arrive.

Each sidecar must have had a batch acknowledged and have none that waits, the queue of each agent must be
empty, and Prometheus must have fresh counters of each sidecar.
"""

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import cluster

SECONDS = 90
COUNTERS = '{__name__=~"xdp_.+",__name__!~"xdp_(otel_.+|target_info)"}'


def arguments() -> argparse.Namespace:
    """Return the parsed arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sidecars", metavar="SELECTOR", help="the labels of the sidecars' pods")
    parser.add_argument(
        "--status", metavar="PORT", required=True, help="where a sidecar serves its own metrics"
    )
    parser.add_argument("--queue", metavar="PORT", help="where the agent beside it serves its own metrics")
    parser.add_argument("--prometheus", metavar="URL", help="whose Prometheus must have the counters")
    parser.add_argument("--fresh", metavar="SECONDS", type=int, required=True, help="the age that is fresh")
    return parser.parse_args()


CHOSEN = arguments()


def fetch(url: str) -> str:
    """Return the body of a response."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def page(pod: dict, port: str) -> str:
    """Return the metrics of a pod."""
    address = pod["status"].get("podIP", "")
    return fetch(f"http://{f'[{address}]' if ':' in address else address}:{port}/metrics")


def total(metrics: str, name: str, labels: str = "") -> float:
    """Return the sum of a metric's series whose labels contain *labels*."""
    series = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)", metrics, re.MULTILINE)
    return sum(float(value) for pairs, value in series if labels in pairs)


def missing_of(pod: dict) -> Iterator[str]:
    """Yield what is missing of the sidecar in *pod*, and of the agent beside it."""
    own = page(pod, CHOSEN.status)
    if not total(own, "xdp_xdp_otel_batches", 'outcome="delivered"'):
        yield "no batch was acknowledged yet"
    age_s = total(own, "xdp_xdp_otel_batch_age")
    if age_s > CHOSEN.fresh:
        yield f"a batch has waited for {age_s:.0f} s"
    if not total(own, "xdp_xdp_otel_ready"):
        yield "its last cycle failed"
    if CHOSEN.queue:
        queued = total(page(pod, CHOSEN.queue), "otelcol_exporter_queue_size")
        if queued:
            yield f"the agent's queue holds {queued:.0f} requests"
    if CHOSEN.prometheus:
        yield from missing_in_prometheus(pod["metadata"]["name"])


def missing_in_prometheus(pod: str) -> Iterator[str]:
    """Yield what Prometheus lacks of the sidecar in a pod."""
    targets = query(f'xdp_target_info{{k8s_pod_name="{pod}"}}')
    if not targets:
        yield "Prometheus has nothing of it"
        return
    instance = targets[-1]["metric"]["instance"]
    counters = COUNTERS.replace("}", f',instance="{instance}"}}')
    if not query(f"count(last_over_time({counters}[{CHOSEN.fresh}s]))"):
        yield f"Prometheus has no counter of it younger than {CHOSEN.fresh} s"


def query(promql: str) -> list[dict]:
    """Return the series that Prometheus responds with."""
    url = f"{CHOSEN.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
    return json.loads(fetch(url))["data"]["result"]


def missing() -> tuple[str, list[str]]:
    """Return which nodes were asked, and what is missing on which."""
    pods = dict(sorted(cluster.pods(CHOSEN.sidecars).items()))
    if not pods:
        return "", ["no sidecar runs: does a node match sidecar.nodeSelector?"]
    skipped = [node for node, pod in pods.items() if unreachable(pod)]
    lines = [f"{node}: {text}" for node in pods if node not in skipped for text in lacking(pods[node])]
    number = len(pods) - len(skipped)
    if not number:
        lines = ["no sidecar runs on a node that is ready"]
    asked = f"{number} {'node' if number == 1 else 'nodes'}"
    return asked + (f"; not asked, since they are not ready: {', '.join(skipped)}" if skipped else ""), lines


def lacking(pod: dict) -> list[str]:
    """Return what is missing of a pod, or why it cannot be asked."""
    name = pod["metadata"]["name"]
    if pod["status"].get("phase") == "Pending":
        return [f"{name} has not started: `kubectl describe pod {name}` and the node say why"]
    try:
        return list(missing_of(pod))
    except OSError as error:
        return [f"{name}: {error}"]


def unreachable(pod: dict) -> bool:
    """Return whether the pod is not ready because its node is not: its own kubelet last reported it ready."""
    statuses = pod["status"].get("containerStatuses", [])
    return (
        cluster.condition(pod, "Ready") != "True"
        and bool(statuses)
        and all(each["ready"] for each in statuses)
    )


def main() -> None:
    """Exit with 0 once nothing is missing, or with what is."""
    deadline = time.monotonic() + SECONDS
    last: list[str] = []
    while True:
        try:
            asked, lines = missing()
        except OSError as error:
            asked, lines = "", [str(error)]
        if not lines:
            print(f"counters arrive from {asked}")
            sys.exit()
        if time.monotonic() > deadline:
            sys.exit("\n".join([f"after {SECONDS} s:", *lines]))
        if lines != last:
            print("\n".join(lines), flush=True)
            last = lines
        time.sleep(3)


main()
