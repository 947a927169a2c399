# SPDX-License-Identifier: Apache-2.0
"""What the real Collector holds of a map that counts, while its answers and its address change."""

import time

from chaos.counters import held
from demo.errors import DemoError


def shown(ports, state):
    """What the Collector serves of the sidecar with this state directory, field by field."""
    return held(ports, (state / "instance-id").read_text().strip())


def until(condition, timeout_s=45):
    """Wait until it holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def settled(read, truth, timeout_s=45):
    """What is read as soon as it is the truth and a second later still is; or what is there after all."""
    deadline = time.monotonic() + timeout_s
    while (seen := _or_nothing(read)) != truth and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    return _or_nothing(read) if seen == truth else seen


def _or_nothing(read):
    try:
        return read()
    except DemoError as error:
        return str(error)
