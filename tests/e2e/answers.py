# SPDX-License-Identifier: Apache-2.0
"""What the real Collector holds of a map that counts, while its answers and its address change."""

import time

from chaos.counters import held
from tests.waiting import settled


def shown(ports, state):
    """What the Collector serves of the sidecar with this state directory, field by field."""
    return held(ports, (state / "instance-id").read_text().strip())


def lasting(read, truth):
    """What is read once it is the truth and a second later still is; or what is there after all."""
    found = settled(read, truth)
    time.sleep(1)
    return read() if found == truth else found
