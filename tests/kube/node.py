# SPDX-License-Identifier: Apache-2.0
"""One node of the cluster, controlled through a privileged pod: interfaces, traffic, pins, processes."""

import json
import os
import shlex
import subprocess
from collections import Counter
from pathlib import Path

from tests.kube.cluster import KUBECTL, PREFIX, VERSION, kubectl

POD = "xdp-otel-test-node"
NAMESPACE = "xdp-otel-test"
OTHER = "xdp-otel-test-2"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TRAFFIC = (Path(__file__).parent / "traffic.py").read_text()

# The sidecar's image has Python but no shell, so commands are run in the node's namespaces.
ENTER = f"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for namespace in [os.open(f"/proc/1/ns/{{kind}}", os.O_RDONLY) for kind in ("net", "mnt")]:
    if libc.setns(namespace, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.chdir("/")
os.environ["PATH"] = {PATH!r}
os.execvp(sys.argv[1], sys.argv[1:])
"""

KILL = """
import os, pathlib, sys
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        words = path.read_bytes().decode(errors="replace").split("\\0")
    except OSError:
        continue
    if "-c" not in words and set(sys.argv[1:]) <= set(words):
        os.kill(int(path.parts[2]), 9)
        print(path.parts[2])
"""

_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"namespace": NAMESPACE},
    "spec": {
        "hostNetwork": True,
        "hostPID": True,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            {
                "name": "node",
                "image": f"{PREFIX}/xdp-otel:{VERSION}",
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "-c", "import signal; signal.pause()"],
                "securityContext": {"privileged": True, "runAsUser": 0},
            }
        ],
    },
}


class Node:
    """A context manager that makes the pod and removes everything at the end."""

    def __init__(self, name):
        self.name = name
        self._pod = f"{POD}-{name}"
        self._interfaces = []
        self.is_cut_off = False

    def __enter__(self):
        pod = json.loads(json.dumps(_POD))
        pod["metadata"]["name"] = self._pod
        pod["spec"]["nodeName"] = self.name
        kubectl("delete", "pod", self._pod, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait")
        kubectl("apply", "--filename=-", stdin=json.dumps(pod))
        kubectl(
            "wait", f"pod/{self._pod}", f"--namespace={NAMESPACE}", "--for=condition=Ready", "--timeout=60s"
        )
        return self

    def __exit__(self, *_):
        for interface in self._interfaces:
            self.run("ip", "link", "delete", interface, check=False)
        kubectl("delete", "pod", self._pod, f"--namespace={NAMESPACE}", "--wait=false", check=False)

    def run(self, *command, check=True):
        """Run a command on the node as root; return its output."""
        return kubectl(*self._exec("-c", ENTER), *command, check=check)

    def wire(self, name):
        """Make a veth pair on the node that carries only frames of `send`; return *name*."""
        self.run("ip", "link", "delete", name, check=False)  # of a run that was aborted
        self.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        self._interfaces.append(name)
        for end in (name, f"{name}p"):
            self.run("sysctl", "--quiet", "--write", f"net.ipv6.conf.{end}.disable_ipv6=1")
            self.run("ip", "link", "set", end, "up")
        return name

    def cut(self, name):
        """Remove a veth pair."""
        self.run("ip", "link", "delete", name)
        self._interfaces.remove(name)

    def send(self, wire, rounds=200, per_second=4000):
        """Send rounds of eight frames, one of each kind; return the counts that arrived."""
        return arrived(kubectl(*self._exec("-c", TRAFFIC), f"{wire}p", str(rounds), str(per_second)))

    def begin_to_send(self, wire, rounds, per_second):
        """Send in the background; pass the process's output to `arrived` for the counts that arrived."""
        command = [KUBECTL, *self._exec("-c", TRAFFIC), f"{wire}p", str(rounds), str(per_second)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def uncover_bpffs(self):
        """Unmount whatever a test, also of a run that was aborted, mounted over the node's bpffs."""
        covered = ("findmnt", "--noheadings", "--output=FSTYPE", "--mountpoint=/sys/fs/bpf")
        while "tmpfs" in self.run(*covered, check=False):
            self.run("umount", "/sys/fs/bpf")

    def cut_off(self):
        """End the node as a power failure does; the cluster finds out within a minute."""
        self.is_cut_off = True
        _by_hand("NODE_DOWN", self.name)

    def bring_back(self):
        """Start the node again, with its interfaces."""
        power_on(self.name)
        self.is_cut_off = False
        self.__enter__()
        interfaces, self._interfaces = self._interfaces, []
        for interface in interfaces:
            self.wire(interface)

    def files(self, directory):
        """Return the names in a directory of the node, none if it does not exist."""
        return sorted(self.run("ls", "-A", directory, check=False).split())

    def program_on(self, interface):
        """Return the id of the XDP program on an interface, or None."""
        (link,) = json.loads(self.run("ip", "--json", "link", "show", interface))
        return link.get("xdp", {}).get("prog", {}).get("id")

    def kill(self, *words):
        """Kill the processes whose command lines contain all *words*; return how many."""
        return len(kubectl(*self._exec("-c", KILL), *words).split())

    def _exec(self, *python):
        return ["exec", self._pod, f"--namespace={NAMESPACE}", "--", "python3", *python]


def power_on(name):
    """Start a node, if it was cut off, and wait until it is ready."""
    _by_hand("NODE_UP", name)
    kubectl("wait", f"node/{name}", "--for=condition=Ready", "--timeout=120s")


def _by_hand(variable, name):
    command = [*shlex.split(os.environ[variable]), name]
    subprocess.run(command, check=True, capture_output=True, text=True)


def arrived(said):
    """Parse a sender's output into counts; fail if the kernel dropped frames."""
    report = json.loads(said)
    assert report["dropped"] == 0, (
        f"the kernel dropped {report['dropped']} frames before XDP: send more slowly"
    )
    return Counter(report["counts"])
