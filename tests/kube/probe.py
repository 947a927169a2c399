# SPDX-License-Identifier: Apache-2.0
"""A pod that tries to connect, to see what policies let through."""

import json

from tests.kube.cluster import PREFIX, VERSION, kubectl

# The address, then ports; prints those that accept a connection. A new pod's first packet may be lost.
CONNECT = """
import json, socket, sys
reached = []
for port in map(int, sys.argv[2:]):
    for _ in range(2):
        try:
            socket.create_connection((sys.argv[1], port), 2).close()
        except OSError:
            continue
        reached.append(port)
        break
print(json.dumps(reached))
"""


class Probe:
    """A context manager: one pod of the pod network, with the labels it poses with; on *node*, if given."""

    def __init__(self, namespace, labels, name="probe", node=None):
        self.namespace, self.labels, self.name = namespace, labels, name
        self.node_selector = {"kubernetes.io/hostname": node} if node else {}

    def __enter__(self):
        container = {
            "name": "probe",
            "image": f"{PREFIX}/xdp-otel:{VERSION}",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", "import signal; signal.pause()"],
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "nodeSelector": self.node_selector,
                "containers": [container],
            },
        }
        where = f"--namespace={self.namespace}"
        kubectl("apply", where, "--filename=-", stdin=json.dumps(pod))
        kubectl("wait", f"pod/{self.name}", where, "--for=condition=Ready", "--timeout=60s")
        return self

    def __exit__(self, *_):
        kubectl("delete", "pod", self.name, f"--namespace={self.namespace}")

    def reached(self, address, ports):
        """Return the ports of *address* that accept a connection."""
        script = ("--", "python3", "-c", CONNECT)
        return json.loads(
            kubectl("exec", self.name, f"--namespace={self.namespace}", *script, address, *map(str, ports))
        )
