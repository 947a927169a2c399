# SPDX-License-Identifier: Apache-2.0
"""What the tests with several nodes install, and what they send."""

from collections import Counter

WIRE = "xdpt0"
MODES = {
    "sidecar": {},
    "gateway": {},
    "agent": {"gateway": {"replicas": 2}},
    # What the sidecars serve themselves is compared.
    "none": {"collector": {"endpoint": "http://192.0.2.1:4317", "basePoint": True}},
}


def values(mode):
    """Return the values for a mode."""
    more = MODES[mode]
    return {
        **more,
        "sidecar": {"interfaces": [WIRE]},
        "collector": {**more.get("collector", {}), "mode": mode},
    }


def sent_by(nodes, rounds=100):
    """Send on each node; return the sum of what arrived."""
    return sum((each.send(WIRE, rounds) for each in nodes), Counter())
