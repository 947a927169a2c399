# SPDX-License-Identifier: Apache-2.0
"""
Many interfaces that come, are renamed, move and go under traffic: what the series add up to is what was sent.

`INTERFACES=100 pytest --kernel=require tests/kernel/test_interfaces_churn.py`: more of them than `make test`.
"""

import os
import random
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

from tests.kernel.test_interfaces import (
    Interface,
    answered,
    is_counting,
    matching,
    namespace,
    series,
    wires,
)

__all__ = ["namespace", "wires"]

COUNT = int(os.environ.get("INTERFACES", "30"))
FRAME = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + bytes(46)


def batch(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Traffic:
    """Sends frames into all interfaces that were added, one after the other, and knows how many."""

    def __init__(self):
        self.sent = {}
        self._channels = {}
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def flowing(self):
        self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            self._thread.join()
            self.remove(*self._channels)

    def add(self, *names):
        """Send to these, through their peers; the counts are by name."""
        with self._changing:
            for name in names:
                channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                channel.bind((f"{name}p", 0))
                self._channels[name] = channel
                self.sent.setdefault(name, 0)

    def remove(self, *names):
        """Send no more to these: what is on its way when an interface goes is lost with it, uncounted."""
        with self._changing:
            for name in names:
                self._channels.pop(name).close()

    def reach(self, count, *names):
        """Wait until that many more frames were sent to each of these."""
        goals = {name: self.sent[name] + count for name in names}
        answered(lambda: all(self.sent[name] >= goal for name, goal in goals.items()))

    def _run(self):
        while not self._stopped.wait(0.002):
            with self._changing:
                for name, channel in self._channels.items():
                    channel.send(FRAME)
                    self.sent[name] += 1


def test_the_sum_over_all_series_is_what_was_sent(run, wires, server, namespace):
    """Of thirds: renamed, moved to another network namespace, deleted and created again."""
    names = [f"{wires.prefix}{number:03}" for number in range(COUNT)]
    shuffled = random.Random(1).sample(names, COUNT)  # noqa: S311
    renamed, moved, recreated = (shuffled[at::3] for at in range(3))

    def create(*created):
        batch(*(f"link add {name} type veth peer name {name}p" for name in created))
        ends = [end for name in created for end in (name, f"{name}p")]
        for end in ends:
            # Neighbour discovery would be counted, too.
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
        batch(*(f"link set {end} up" for end in ends))
        answered(lambda: all(map(is_counting, created)))

    with run("--interface", wires.pattern, "--base-point") as sidecar, Traffic().flowing() as traffic:
        for at in range(0, COUNT, 10):
            create(*names[at : at + 10])
            traffic.add(*names[at : at + 10])
        traffic.reach(20, *names)
        batch(*(f"link set {name} name {name}r" for name in renamed))
        traffic.reach(20, *renamed)
        for old, new in zip(moved, recreated, strict=False):
            traffic.remove(old, new)
            batch(f"link set {old} netns {namespace}", f"link del {new}")
        create(*recreated)
        traffic.add(*recreated)
        traffic.reach(20, *recreated, *renamed)
        traffic.remove(*recreated, *renamed)

        counted = matching(lambda: series(server), lambda counted: counted == traffic.sent, 30)
        assert counted == traffic.sent, sidecar.log()
        answered(lambda: not any(Interface(name).pin_directory.exists() for name in moved))
        assert sidecar.log().count("left out") == 0
