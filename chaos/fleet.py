# SPDX-License-Identifier: Apache-2.0
"""
Many sidecars in one process, each with its own map, journal, instance id and connection.

`python -m chaos.fleet PORT DIRECTORY COUNT INTERVAL SEED` runs COUNT real pipelines, each in a thread.
Frames reach their XDP programs through BPF_PROG_RUN. Each line of standard input gets one line of JSON:
`begin` starts the traffic and returns the map id and instance id of each sidecar, `hold` ends the traffic,
`first SECONDS` returns the time of each sidecar's first acknowledgement after that monotonic time.
"""

import json
import os
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from demo.bpf_commands import prog_test_run
from demo.frames import every_kind
from sidecar import otlp_push
from sidecar.delivery import Delivery
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.kernel import libbpf
from sidecar.kernel import syscall as bpf
from sidecar.model import Temporality
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.outcome import Delivered, Outcome
from sidecar.otlp.resource import resource_attributes
from sidecar.pipeline import Pipeline
from sidecar.sources import locate
from sidecar.state.journal import Journal

_SENDER = bytes.fromhex("020000000001")


class _Pusher(otlp_push.Pusher):
    """The real pusher, with the times of its acknowledgements."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.delivered_at: list[float] = []

    def push(self, request: bytes, *, timeout_s: float | None = None) -> Outcome:
        outcome = super().push(request, timeout_s=timeout_s)
        if isinstance(outcome, Delivered):
            self.delivered_at.append(time.monotonic())
        return outcome


class _Clock:
    """Real time, stopped for all sidecars at once."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self._stopped.wait(seconds)


class _Member:
    """A sidecar of the fleet, with its program."""

    def __init__(self, cleanup: ExitStack, port: int, state: Path, stopped: threading.Event) -> None:
        self._program = cleanup.enter_context(libbpf.load_packet_counter())
        self.map_id = bpf.map_info(self._program.map_fd).id
        source = locate.source(SourceSpec(MapRef("id", str(self.map_id))))
        source.open()
        cleanup.callback(source.close)
        journal = Journal(state)
        cleanup.callback(journal.close)
        self.pusher = _Pusher(Endpoint(f"127.0.0.1:{port}", secure=False))
        cleanup.callback(self.pusher.close)
        clock = _Clock(stopped)
        resource = resource_attributes(state)
        self.instance = dict(resource)["service.instance.id"]
        temporality = Temporality.DELTA_WITH_BASE
        delivery = Delivery(journal, self.pusher, clock, temporality)
        self.pipeline = Pipeline([source], resource, temporality, delivery, clock)

    def send(self, frame: bytes, times: int) -> None:
        """Run its program on a frame *times* times."""
        prog_test_run(self._program.prog_fd, frame, repeat=times)


def main() -> None:
    """Run until standard input ends."""
    port, directory, count, interval_s, seed = sys.argv[1:]
    # Within a process, gRPC shares a connection between all channels to the same address.
    otlp_push._CHANNEL_OPTIONS += (("grpc.use_local_subchannel_pool", 1),)  # type: ignore[assignment]  # noqa: SLF001
    stopped, held = threading.Event(), threading.Event()
    with ExitStack() as cleanup:
        members = [
            _Member(cleanup, int(port), Path(directory) / str(number), stopped)
            for number in range(int(count))
        ]
        chance = Random(int(seed))  # noqa: S311 - frames, no secrets
        threads = [
            threading.Thread(target=partial(_run, member, float(interval_s), chance.random()))
            for member in members
        ]
        threads.append(threading.Thread(target=_send, args=(members, held, chance)))
        for line in sys.stdin:
            match line.split():
                case ["begin"]:
                    for thread in threads:
                        thread.start()
                    _answer([(member.map_id, member.instance) for member in members])
                case ["hold"]:
                    held.set()
                    threads[-1].join()
                    _answer("held")
                case ["first", since]:
                    _answer([_first(member, float(since)) for member in members])
        stopped.set()
        held.set()
        for thread in threads:
            thread.join()


def _run(member: _Member, interval_s: float, phase: float) -> None:
    # Real machines do not start at the same moment.
    time.sleep(interval_s * phase)
    member.pipeline.run(interval_s)


def _send(members: list[_Member], held: threading.Event, chance: Random) -> None:
    frames = list(every_kind(source=_SENDER).values())
    cpus = sorted(os.sched_getaffinity(0))
    while not held.wait(0.02):
        os.sched_setaffinity(0, {chance.choice(cpus)})
        for member in chance.sample(members, max(1, len(members) // 10)):
            member.send(chance.choice(frames), chance.randint(1, 50))


def _first(member: _Member, since: float) -> float | None:
    return min((at for at in member.pusher.delivered_at if at > since), default=None)


def _answer(value: Any) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
