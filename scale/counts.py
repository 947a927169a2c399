# SPDX-License-Identifier: Apache-2.0
"""A map with known counts, and the counts that a store shows."""

import json
import os
import struct
import threading
import urllib.parse
from pathlib import Path
from types import TracebackType

from demo import stack
from demo.bpf_commands import map_create, map_update
from demo.ports import Ports
from demo.prometheus import METRICS, fetch, query
from demo.tap import FIELDS
from sidecar.kernel import syscall as bpf
from sidecar.kernel import uapi

_PAUSE_S = 0.005


class Counter:
    """A `struct pkt_stats` in a pinned map, which counts from enter to `hold` like an XDP program."""

    def __init__(self, pin: Path) -> None:
        """Create the map and pin it at *pin*."""
        self.pin = pin
        self._steps = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._fd = map_create(uapi.MAP_ARRAY, key_size=4, value_size=64, max_entries=1, name="stats_map")
        stack.mount_bpffs()
        bpf.obj_pin(self._fd, str(pin))

    @property
    def truth(self) -> dict[str, int]:
        """The counts in the map: distinct per field, and too large for the precision of a float32."""
        return {field: 2**33 + self._steps * (at + 1) for at, field in enumerate(FIELDS)}

    def hold(self) -> None:
        """Stop counting."""
        self._stopped.set()
        self._thread.join()

    def _write(self) -> None:
        map_update(self._fd, bytes(4), struct.pack("=8Q", *self.truth.values()))

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE_S):
            self._steps += 1
            self._write()

    def __enter__(self) -> "Counter":
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hold()
        os.close(self._fd)
        self.pin.unlink()


def shown(store: Ports) -> dict[str, int]:
    """
    Return the values in the store, by field; fields without a series are omitted.

    Raises DemoError if a field has several series.
    """
    values = {field: query(store, METRICS[field]) for field in FIELDS}
    return {field: int(value) for field, value in values.items() if value is not None}


def samples(store: Ports, field: str = "total_packets") -> list[tuple[float, int]]:
    """Return all samples of the last hours of a counter, as (seconds since 1970, value)."""
    query = urllib.parse.urlencode({"query": f"{METRICS[field]}[6h]"})
    answer = fetch(f"http://127.0.0.1:{store.prometheus}/api/v1/query?{query}")
    return [
        (at, int(value)) for series in json.loads(answer)["data"]["result"] for at, value in series["values"]
    ]
