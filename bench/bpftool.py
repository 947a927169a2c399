# SPDX-License-Identifier: Apache-2.0
"""Read a map's counters as the original demo did: two bpftool processes and their JSON."""

import json
import subprocess
from typing import Any


def read(map_id: int) -> dict[str, int]:
    """Find the map in the list; return the fields of its first entry, summed over the CPUs."""
    info = next(info for info in _bpftool("map", "list") if info["id"] == map_id)
    entry = _bpftool("map", "dump", "id", str(info["id"]))[0]["formatted"]
    values = [slot["value"] for slot in entry["values"]]
    return {field: sum(value[field] for value in values) for field in values[0]}


def _bpftool(*arguments: str) -> Any:
    done = subprocess.run(["bpftool", "--json", *arguments], check=True, capture_output=True)
    return json.loads(done.stdout)
