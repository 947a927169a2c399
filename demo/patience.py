# SPDX-License-Identifier: Apache-2.0
"""How long to wait for what is started: longer on an emulated machine (`make test-kernels`)."""

import os

VARIABLE = "XDP_OTEL_TEST_PATIENCE"
"""How many times as long as on a usual machine, a whole number (default: 1)."""


def patient(seconds: float) -> float:
    """Return how long to wait for what takes at most *seconds* on a usual machine."""
    return seconds * int(os.environ.get(VARIABLE) or 1)
