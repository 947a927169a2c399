# SPDX-License-Identifier: Apache-2.0
"""Several sidecars behind one Collector."""

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from chaos.counters import ZERO, add, seen
from chaos.ledger import Row
from chaos.stage import SETTLE_WITHIN_S, Stage
from chaos.watch import resident_kib
from demo import stack
from demo.errors import DemoError
from demo.processes import end, python, spawn

_FLEET = 200
_PROCESSES = 4
_FLEET_INTERVAL_S = 2.0
_WINDOW_S = 0.1
_LARGEST_SHARE = 0.4
"""The share of a fleet that may reconnect within _WINDOW_S; jitter must prevent a stampede."""


def two_nodes(stage: Stage) -> None:
    """Kill the Collector of two nodes."""
    inside = [
        ["unshare", "--uts", "sh", "-ec", f'hostname {name}; exec "$@"', "sh"] for name in ("one", "two")
    ]
    nodes = [stage.node(f"node{number}", inside=prefix) for number, prefix in enumerate(inside)]
    _compare(stage, nodes)


def same_hostname(stage: Stage) -> None:
    """Kill the Collector of two machines with the same host name and state path."""
    first = stage.node("node0")
    machine = stage.directory / "machine-id"
    machine.write_text(f"{stage.chance.getrandbits(128):032x}\n")
    own = stage.directory / "node1" / "state"
    # The second machine has its own directory at the same path and its own machine id.
    view = (
        f'mkdir -p {own}; mount --bind {own} {first.state}; mount --bind {machine} /etc/machine-id; exec "$@"'
    )
    second = stage.node("node1", inside=["unshare", "--mount", "sh", "-ec", view, "sh"], state=first.state)
    _compare(stage, [first, second])


def _compare(stage: Stage, nodes: Sequence[Any]) -> None:
    stage.wait(stage.seconds(3.0, 1.5))
    stage.restart_collector()
    stage.wait(stage.seconds(3.0, 1.5))
    wrong = [] if len({node.instance for node in nodes}) == len(nodes) else ["two nodes have one instance id"]
    for node in nodes:
        stage.record(node, node.name, problems=wrong)


class _Crew:
    """A process of the fleet (chaos.fleet)."""

    def __init__(self, stage: Stage, number: int, count: int) -> None:
        directory = stage.directory / f"crew{number}"
        directory.mkdir()
        seed = str(stage.chance.getrandbits(32))
        arguments = (str(stage.ports.otlp), str(directory), str(count), str(_FLEET_INTERVAL_S), seed)
        log = stage.cleanup.enter_context((directory / "log").open("wb"))
        pipe = subprocess.PIPE
        self.process = spawn(python("chaos.fleet", *arguments), stdin=pipe, stdout=pipe, stderr=log)
        stage.cleanup.callback(end, self.process)

    def ask(self, line: str) -> Any:
        """Send *line* and return the response; raise DemoError without one."""
        if self.process.stdin is None or self.process.stdout is None:
            raise DemoError("cannot query the fleet: it has no pipes: see chaos.fleet")
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise DemoError("cannot query the fleet: it exited: see its log")
        return json.loads(answer)


def fleet(stage: Stage) -> None:
    """Kill and restart the Collector of 200 sidecars."""
    count = stage.times(_FLEET, 24)
    crews = [_Crew(stage, number, count // _PROCESSES) for number in range(_PROCESSES)]
    members = [tuple(member) for crew in crews for member in crew.ask("begin")]
    stage.wait(stage.seconds(8.0, 3.0))
    stage.collector.kill()
    stage.wait(stage.seconds(8.0, 3.0))
    stage.collector.start()
    back = time.monotonic()
    first: list[float | None] = []

    def all_back() -> bool:
        first[:] = [at for crew in crews for at in crew.ask(f"first {back}")]
        return None not in first

    stage.until(all_back, SETTLE_WITHIN_S)
    for crew in crews:
        crew.ask("hold")
    note, wrong = _spread(sorted(at - back for at in first if at is not None), len(members))
    rss_kib = sum(resident_kib(crew.process.pid)[1] for crew in crews)
    _record_fleet(stage, members, note, wrong, rss_kib)


def _spread(after_s: Sequence[float], count: int) -> tuple[str, list[str]]:
    """Return a note about the fleet's return and the problems found in it."""
    if len(after_s) < count:
        return "", [f"{count - len(after_s)} of {count} did not return"]
    densest = max(sum(start <= at < start + _WINDOW_S for at in after_s) for start in after_s)
    note = (
        f"{count} sidecars back after {after_s[0]:.1f} to {after_s[-1]:.1f} s, "
        f"median {after_s[count // 2]:.1f} s, at most {densest} within {_WINDOW_S * 1000:.0f} ms; "
        f"RSS is that of {_PROCESSES} processes"
    )
    return note, [] if densest <= _LARGEST_SHARE * count else ["they returned all at once"]


def _record_fleet(
    stage: Stage, members: Sequence[tuple[int, str]], note: str, wrong: list[str], rss_kib: int
) -> None:
    """Compare member by member: a count that moved from one to another is wrong even if the sum is right."""
    kernel = {instance: stack.map_counts("id", str(map_id)) for map_id, instance in members}
    shown: dict[str, dict[str, int]] = {}

    def agree() -> bool:
        differing = [name for name in kernel if shown.get(name) != kernel[name]]
        shown.update({name: seen(stage.store, name).increase for name in differing})
        return shown == kernel

    stage.until(agree, SETTLE_WITHIN_S)
    stage.wait(1.5)
    shown.update({name: seen(stage.store, name).increase for name in kernel})
    differing = sum(shown[name] != kernel[name] for name in kernel)
    stage.rows.append(
        Row(
            scenario=stage.name,
            kernel=add(ZERO, *kernel.values()),
            shown=add(ZERO, *shown.values()),
            compared="each increase",
            rss_kib=rss_kib,
            journal_bytes=max(path.stat().st_size for path in stage.directory.glob("crew*/*/journal")),
            note=note,
            problems=[*wrong, *([f"{differing} sidecars differ"] if differing else [])],
        )
    )
