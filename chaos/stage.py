# SPDX-License-Identifier: Apache-2.0
"""The stage of a scenario: Collector, Prometheus, nodes, and the ledger."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

from chaos.counters import ZERO, Seen, Store, minus, seen
from chaos.ledger import Row
from chaos.node import Mode, Node
from chaos.proxy import Proxy
from demo import stack
from demo.interruption import pause
from demo.ports import Ports
from demo.service import Service
from demo.tap import Counts

SETTLE_WITHIN_S = 60.0
"""How long the counts may differ after the last fault: the longest backoff, a cycle, a scrape."""
_STEADY_S = 1.5  # longer than a scrape: equal for this long is no coincidence
_SETTLED_LOSS_S = 4.0
_POLL_S = 0.2
_NOTHING = (dict(ZERO), Seen(dict(ZERO), dict(ZERO), 0, 0.0))


class Stage:
    """
    The stack of one scenario.

    Attributes:
        chance: The random generator, seeded with the seed and the scenario's name.
        collector: Running when the scenario starts.
        prometheus: Running when the scenario starts.
        store: Where it has the counters of a node, unless the node has another.
        rows: The scenario's rows of the ledger.

    """

    def __init__(self, name: str, directory: Path, cleanup: ExitStack, *, seed: int, scale: float) -> None:
        """Prepare; `staged` starts the two services."""
        self.name = name
        self.chance = Random(f"{seed} {name}")  # noqa: S311 - must be the same for the same seed
        self.ports = Ports.free()
        self.collector = stack.collector(directory, self.ports)
        self.prometheus = stack.prometheus(directory, self.ports)
        self.store = Store(self.ports)
        self.rows: list[Row] = []
        self.directory = directory
        self.cleanup = cleanup
        self._scale = scale
        self._nodes: list[Node] = []
        self._stores: dict[str, Store] = {}
        self._checked: dict[str, tuple[Counts, Seen]] = {}

    def seconds(self, full: float, least: float = 0.5) -> float:
        """Scale a duration of *full* seconds to this run."""
        return max(least, full * self._scale)

    def times(self, full: int, least: int = 1) -> int:
        """Scale a number of repetitions to this run."""
        return max(least, round(full * self._scale))

    def wait(self, shortest_s: float, longest_s: float | None = None) -> None:
        """Wait for that long, or for a random time up to *longest_s*."""
        longest = shortest_s if longest_s is None else longest_s
        pause(self.chance.uniform(shortest_s, longest))

    def proxy(self) -> Proxy:
        """Return a new proxy in front of the Collector."""
        made = Proxy(self.ports.otlp)
        self.cleanup.callback(made.close)
        return made

    def node(
        self,
        name: str = "node",
        *,
        endpoint: int | str | None = None,
        store: Store | None = None,
        prepare: Callable[[Node], None] = lambda _: None,
        **options: Any,
    ) -> Node:
        """
        Make a node, call *prepare* with it and start it; *options* are those of Node.

        *store* is where its counts are compared, by default the Prometheus of the stage.
        """
        where = self.ports.otlp if endpoint is None else endpoint
        made = Node(
            self.cleanup, self.directory / name, name, where, seed=self.chance.getrandbits(32), **options
        )
        prepare(made)
        made.start()
        self._nodes.append(made)
        self._stores[name] = store or self.store
        return made

    def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until *condition* holds; return False if it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            pause(_POLL_S)
        return True

    def record(
        self,
        node: Node,
        about: str = "",
        *,
        bound: Mapping[str, int] = ZERO,
        note: str = "",
        problems: Sequence[str] = (),
        whole: bool = False,
    ) -> Row:
        """
        Hold all traffic, wait until the counts settle, and add a row for everything since the last one.

        With *whole*, the row covers everything since the start. *bound* is what may be missing. Except in
        plain delta, the counter's value must have grown by its increase: no reset was hidden by PromQL.
        """
        for running in self._nodes:
            running.hold()
        if whole:
            self._checked.pop(node.name, None)
        kernel, shown = self._settle(node, bound)
        kernel_before, shown_before = self._checked.get(node.name, _NOTHING)
        self._checked[node.name] = (kernel, shown)
        grown = minus(shown.increase, shown_before.increase)
        wrong = list(problems)
        if node.mode is not Mode.DELTA and minus(shown.value, shown_before.value) != grown:
            wrong.append(f"value grew by {minus(shown.value, shown_before.value)}, increase is {grown}")
        if shown.resets > shown_before.resets:
            note = f"{note + ', ' if note else ''}{shown.resets - shown_before.resets} resets seen"
        row = Row(
            scenario=self.name + (f": {about}" if about else ""),
            kernel=minus(kernel, kernel_before),
            shown=grown,
            compared="increase" if node.mode is Mode.DELTA else "increase, value",
            bound=bound,
            journal_bytes=node.watch.journal_bytes,
            rss_kib=node.watch.rss_kib,
            note=note,
            problems=wrong,
        )
        self.rows.append(row)
        return row

    def _settle(self, node: Node, bound: Mapping[str, int]) -> tuple[Counts, Seen]:
        """Return both counts once they are equal and steady, or the last ones once time is up."""
        deadline = time.monotonic() + SETTLE_WITHIN_S
        while True:
            node.sidecar.check()
            now = node.kernel(), seen(self._stores[node.name], node.instance)
            held_s = time.monotonic() - (node.held_at or time.monotonic())
            steady_s = min(held_s, now[1].steady_s)
            gap = self._gap(node, now)
            if steady_s > _STEADY_S and gap in (ZERO, bound):
                break
            # Missing counts may still arrive, but a double count stays.
            if steady_s > _SETTLED_LOSS_S and (min(gap.values()) < 0 or _within(gap, bound)):
                break
            if time.monotonic() > deadline:
                break
            pause(_POLL_S)
        return now

    def _gap(self, node: Node, now: tuple[Counts, Seen]) -> Counts:
        kernel, shown = self._checked.get(node.name, _NOTHING)
        return minus(minus(now[0], kernel), minus(now[1].increase, shown.increase))

    def restart_collector(self, *, gently: bool = False) -> None:
        """End the Collector, with SIGTERM if *gently*, else with SIGKILL, and start it again."""
        _end(self.collector, gently=gently)
        self.collector.start()


def _within(gap: Mapping[str, int], bound: Mapping[str, int]) -> bool:
    return any(bound.values()) and all(missing <= bound[name] for name, missing in gap.items())


def _end(service: Service, *, gently: bool) -> None:
    if gently:
        service.stop()
    else:
        service.kill()


@contextmanager
def staged(name: str, directory: Path, *, seed: int, scale: float) -> Iterator[Stage]:
    """Yield a stage with running Collector and Prometheus; everything is undone at the end."""
    directory.mkdir()
    with ExitStack() as cleanup:
        stage = Stage(name, directory, cleanup, seed=seed, scale=scale)
        cleanup.enter_context(stage.collector)
        cleanup.enter_context(stage.prometheus)
        yield stage
