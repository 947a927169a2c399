# SPDX-License-Identifier: Apache-2.0
"""
The floor for a cycle over gRPC: `python -m bench.call_alone ENDPOINT BYTES CYCLES PAUSE`.

Sends the same number of bytes at the same rate through the sidecar's own channel and does nothing else.
Prints JSON: CPU seconds from one call to the next, including gRPC's threads.
"""

import json
import subprocess
import sys
import time
from itertools import pairwise

from bench.measure import cpu_s
from bench.place import ROOT
from bench.receiver import Receiver
from bench.table import Samples
from demo.processes import environment
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.outcome import Delivered
from sidecar.otlp_push import Pusher


def taken(receiver: Receiver, size: int, cycles: int, pause_s: float) -> Samples:
    """Run it as a process; return the CPU seconds of each cycle."""
    arguments = (receiver.address, str(size), str(cycles), str(pause_s))
    command = [sys.executable, "-m", "bench.call_alone", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return Samples(json.loads(done.stdout))


def main() -> None:
    """Run the cycles."""
    target, size, cycles, pause_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    pusher, request = Pusher(Endpoint(target, secure=False)), bytes(size)
    at = []
    for _ in range(cycles + 1):
        time.sleep(pause_s)
        if not isinstance(pusher.push(request), Delivered):
            raise SystemExit(f"{target} did not accept the request")
        at.append(cpu_s())
    pusher.close()
    print(json.dumps([after - before for before, after in pairwise(at)]))  # noqa: T201


if __name__ == "__main__":
    main()
