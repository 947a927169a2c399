# SPDX-License-Identifier: Apache-2.0
"""
Explore every state that a system can reach, and find the shortest way to one that is wrong.

The system is code that runs: wherever the world outside decides (a crash, an answer, a failing disk) it asks,
and the explorer runs it again for each other answer. The first option is the normal one and is free; any
other is a fault. States are met in the order of their faults, then of their steps: the first trace is the
shortest.
"""

import heapq
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

State = TypeVar("State")
Result = TypeVar("Result")


class Wrong(Exception):  # noqa: N818 - what the explorer looks for, not a failure of it
    """What must not be has happened."""


class Asked:
    """The questions of one run: follows a script as far as it goes, then takes the first option of each."""

    def __init__(self, script: Sequence[str], budget: int) -> None:
        self._script = script
        self._budget = budget
        self.taken: list[str] = []
        self.alternatives: list[Sequence[str]] = []
        self.labels: list[str] = []
        self.faults = 0

    def choose(self, *options: str) -> str:
        """Return one of *options*."""
        at = len(self.taken)
        chosen = self._script[at] if at < len(self._script) else options[0]
        affordable = at >= len(self._script) and self.faults < self._budget
        self.alternatives.append(options[1:] if affordable else ())
        self.taken.append(chosen)
        if chosen != options[0]:
            self.note(chosen)
            self.faults += 1
        return chosen

    @property
    def is_new(self) -> bool:
        """Whether the script is used up: what is done from here on, no other run has done."""
        return len(self.taken) >= len(self._script)

    @property
    def can_fail(self) -> bool:
        """Whether one more fault may be asked for."""
        return self.faults < self._budget

    def note(self, label: str) -> None:
        """Say in the trace what happened."""
        self.labels.append(label)


def every_run(run: Callable[[Asked], Result], budget: int) -> Iterator[tuple[Asked, Result]]:
    """Run with every combination of answers that has at most *budget* faults."""
    scripts: list[Sequence[str]] = [()]
    while scripts:
        script = scripts.pop()
        asked = Asked(script, budget)
        result = run(asked)
        yield asked, result
        for at in range(len(script), len(asked.taken)):
            scripts += [(*asked.taken[:at], other) for other in asked.alternatives[at]]


@dataclass(frozen=True)
class Step(Generic[State]):
    """One step to another state: what happened, how many faults it took, and what is wrong with it, if so."""

    label: str
    faults: int
    state: State
    wrong: str = ""


@dataclass
class Exploration:
    """
    What was found.

    Attributes:
        states: Different states that were met.
        steps: Steps that were made.
        seconds: How long it took.
        wrong: What is wrong with the state that the trace leads to; empty if nothing is wrong anywhere.
        trace: The steps to it.

    """

    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    wrong: str = ""
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = "\n".join((f"WRONG: {self.wrong}", *self.trace)) if self.wrong else "nothing is wrong"
        return f"{self.states} states, {self.steps} steps, {self.seconds:.1f} s: {found}"


def explore(
    start: State,
    steps: Callable[[State, int], Iterable[Step[State]]],
    key: Callable[[State], Hashable],
    *,
    faults: int,
) -> Exploration:
    """Explore all that can be reached with at most *faults* faults, up to the first state that is wrong."""
    found, began, order = Exploration(), time.monotonic(), count()
    ways: dict[Hashable, tuple[Hashable, str]] = {}
    best = {key(start): (0, 0)}
    queue = [((0, 0), next(order), Step("", 0, start), key(start))]
    while queue:
        cost, _, reached, here = heapq.heappop(queue)
        if reached.wrong:
            found.wrong, found.trace = reached.wrong, [*_trace(ways, here), reached.label]
            break
        if best[here] != cost:
            continue  # a shorter way was found while it waited
        found.states += 1
        for step in steps(reached.state, faults - cost[0]):
            found.steps += 1
            there = key(step.state)
            after = (cost[0] + step.faults, cost[1] + 1)
            if step.wrong:
                heapq.heappush(queue, (after, next(order), step, here))
            elif there not in best or after < best[there]:
                best[there] = after
                ways[there] = (here, step.label)
                heapq.heappush(queue, (after, next(order), step, there))
    found.seconds = time.monotonic() - began
    return found


def _trace(ways: dict[Hashable, tuple[Hashable, str]], at: Hashable) -> list[str]:
    labels = []
    while at in ways:
        at, label = ways[at]
        labels.append(label)
    return labels[::-1]
