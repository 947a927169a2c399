# SPDX-License-Identifier: Apache-2.0
"""
Explore every state that a system can reach, and find the shortest trace to a violation.

The system is running code: wherever its environment decides (a crash, a response, a failing disk) it calls
`Decisions.choose`, and the explorer runs it again for each other option. The first option is the normal one
and free; any other is a fault. States are explored in the order of their faults, then of their steps, so the
first trace is the shortest.
"""

import heapq
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

State = TypeVar("State")
Result = TypeVar("Result")


class Violation(Exception):  # noqa: N818 - a result of the explorer, not an error of it
    """A property that must hold is violated."""


class Decisions:
    """The decisions of one run: follow a script to its end, then take the first option each time."""

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
        """Whether the script has ended, so that no other run has taken the same decisions."""
        return len(self.taken) >= len(self._script)

    @property
    def can_fail(self) -> bool:
        """Whether the budget allows one more fault."""
        return self.faults < self._budget

    def note(self, label: str) -> None:
        """Add a label to the trace."""
        self.labels.append(label)


def every_run(run: Callable[[Decisions], Result], budget: int) -> Iterator[tuple[Decisions, Result]]:
    """Run with every combination of decisions that has at most *budget* faults."""
    scripts: list[Sequence[str]] = [()]
    while scripts:
        script = scripts.pop()
        decisions = Decisions(script, budget)
        result = run(decisions)
        yield decisions, result
        for at in range(len(script), len(decisions.taken)):
            scripts += [(*decisions.taken[:at], other) for other in decisions.alternatives[at]]


@dataclass(frozen=True)
class Step(Generic[State]):
    """One step to another state: its label, the faults it took, and what is violated in the state, if any."""

    label: str
    faults: int
    state: State
    violation: str = ""


@dataclass
class Exploration:
    """
    The result of an exploration.

    Attributes:
        states: Distinct states that were reached.
        steps: Steps that were taken.
        seconds: How long it took.
        violation: What is violated in the state that the trace leads to; empty if there is no such state.
        trace: The steps to it.

    """

    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    violation: str = ""
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        trace = "\n".join((f"VIOLATION: {self.violation}", *self.trace)) if self.violation else "no violation"
        return f"{self.states} states, {self.steps} steps, {self.seconds:.1f} s: {trace}"


def explore(
    start: State,
    steps: Callable[[State, int], Iterable[Step[State]]],
    key: Callable[[State], Hashable],
    *,
    faults: int,
) -> Exploration:
    """Explore all states within *faults* faults, up to the first violation."""
    result, began, order = Exploration(), time.monotonic(), count()
    ways: dict[Hashable, tuple[Hashable, str]] = {}
    best = {key(start): (0, 0)}
    queue = [((0, 0), next(order), Step("", 0, start), key(start))]
    while queue:
        cost, _, reached, here = heapq.heappop(queue)
        if reached.violation:
            result.violation, result.trace = reached.violation, [*_trace(ways, here), reached.label]
            break
        if best[here] != cost:
            continue  # a shorter way was found meanwhile
        result.states += 1
        for step in steps(reached.state, faults - cost[0]):
            result.steps += 1
            there = key(step.state)
            after = (cost[0] + step.faults, cost[1] + 1)
            if step.violation:
                heapq.heappush(queue, (after, next(order), step, here))
            elif there not in best or after < best[there]:
                best[there] = after
                ways[there] = (here, step.label)
                heapq.heappush(queue, (after, next(order), step, there))
    result.seconds = time.monotonic() - began
    return result


def _trace(ways: dict[Hashable, tuple[Hashable, str]], at: Hashable) -> list[str]:
    labels = []
    while at in ways:
        at, label = ways[at]
        labels.append(label)
    return labels[::-1]
