# SPDX-License-Identifier: Apache-2.0
"""
A steady stream of frames of every kind, from all CPUs.

`python -m chaos.traffic INTERFACE SEED` sends until it is terminated or the interface disappears. The kernel
counts the frames that arrive; frames that the veth pair drops count nowhere.
"""

import os
import socket
import sys
import time
from random import Random

from demo.frames import every_kind

_BURST = 12
_PAUSE_S = 0.003
_SAME_CPU_S = 0.1


def main() -> None:
    """Send until terminated."""
    interface, seed = sys.argv[1:]
    chance = Random(int(seed))  # noqa: S311 - frames, no secrets
    cpus = sorted(os.sched_getaffinity(0))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        frames = list(every_kind(source=sender.getsockname()[4]).values())
        while True:
            # The node counts a frame on the CPU that sent it.
            os.sched_setaffinity(0, {chance.choice(cpus)})
            until = time.monotonic() + _SAME_CPU_S
            while time.monotonic() < until:
                for frame in chance.choices(frames, k=chance.randint(1, _BURST)):
                    sender.send(frame)
                time.sleep(_PAUSE_S)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"cannot send any more frames: {error}")
