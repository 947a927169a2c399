# SPDX-License-Identifier: Apache-2.0
"""
End the sidecars and wait until every node is detached.

Usage: uninstall.py SIDECARS DETACHERS SELECTOR SECONDS

SIDECARS and DETACHERS are DaemonSets; SELECTOR has the labels of the second's pods, which detach once the
sidecar of their node has ended. If a node cannot be finished, the second stays: it waits for that node.
"""

import sys
import time
from datetime import datetime, timezone

import cluster

SIDECARS, DETACHERS, SELECTOR = sys.argv[1:4]
SECONDS = int(sys.argv[4])
# A kubelet that is alive acknowledges a pod within moments.
DOWN_AFTER_S = 40
AGAIN = "run `helm uninstall` again; --no-hooks gives these nodes up"


def daemonset(name: str) -> str:
    """Return the path of a DaemonSet."""
    return f"/apis/apps/v1/namespaces/{cluster.namespace()}/daemonsets/{name}"


def refused(uid: str) -> str:
    """Return why no pod can be created, or nothing."""
    events = cluster.objects("events", fieldSelector=f"involvedObject.uid={uid},reason=FailedCreate")
    return events[-1]["message"] if events else ""


def unfinished(pod: dict) -> str:
    """Return why a node is not detached yet, or nothing."""
    if cluster.condition(pod, "Ready") == "True":
        return ""
    if is_down(pod):
        return "the node does not respond"
    for status in pod["status"].get("initContainerStatuses", []):
        for state in (status.get("state", {}), status.get("lastState", {})):
            for kind in ("terminated", "waiting"):
                if text := state.get(kind, {}).get("message"):
                    return text.strip().splitlines()[-1]
    return "under way"


def is_down(pod: dict) -> bool:
    """Return whether the node's kubelet has not even acknowledged the pod."""
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    age_s = (datetime.now(timezone.utc) - created).total_seconds()
    return "startTime" not in pod["status"] and age_s > DOWN_AFTER_S


def progress() -> tuple[str, bool]:
    """Return one line about where this stands, and whether to stop waiting; exit once all is done."""
    state = cluster.call(daemonset(DETACHERS))
    if not state:
        return f"DaemonSet {DETACHERS} is gone", True
    if cause := refused(state["metadata"]["uid"]):
        return cause, True
    pods = cluster.pods(SELECTOR)
    waiting = {node: why for node, pod in sorted(pods.items()) if (why := unfinished(pod))}
    wanted = state["status"].get("desiredNumberScheduled", 0)
    text = f"{len(pods) - len(waiting)} of {wanted} nodes are detached"
    if state["status"].get("observedGeneration") and len(pods) == wanted and not waiting:
        cluster.call(daemonset(DETACHERS), "DELETE")
        print(text)
        sys.exit()
    only_down = waiting and len(pods) == wanted and all(is_down(pods[node]) for node in waiting)
    return "; ".join([text, *(f"{node}: {why}" for node, why in waiting.items())]), bool(only_down)


def main() -> None:
    """Exit with 0 once all nodes are detached, or with the reason."""
    deadline = time.monotonic() + SECONDS
    last = ""
    ended = False
    while True:
        try:
            if not ended:
                cluster.call(daemonset(SIDECARS), "DELETE")
                ended = True
            text, hopeless = progress()
        except OSError as error:
            text, hopeless = str(error), False
        if hopeless or time.monotonic() > deadline:
            sys.exit(f"cannot detach everywhere: {text}: {AGAIN}")
        if text != last:
            print(text, flush=True)
            last = text
        time.sleep(1)


main()
