# SPDX-License-Identifier: Apache-2.0
"""What a real Collector serves of a counting map."""

import re
import time

from chaos.counters import held
from demo.prometheus import fetch
from tests.waiting import settled


def shown(ports, state):
    """What the Collector serves of the sidecar with this state directory, by field."""
    return held(ports, (state / "instance-id").read_text().strip())


def lasting(read, truth):
    """What is read a second after it was the truth, or the last reading if it never was."""
    reading = settled(read, truth)
    time.sleep(1)
    return read() if reading == truth else reading


def total_packets(ports):
    """The packet counter on the Collector's /metrics, 0 if it has none; raises OSError."""
    page = fetch(f"http://127.0.0.1:{ports.metrics}/metrics")
    sample = re.search(r"^xdp_xdp_packets_total\S* (\S+)$", page, re.MULTILINE)
    return int(float(sample[1])) if sample else 0
