# SPDX-License-Identifier: Apache-2.0
"""The steps from each state of sidecar and environment to the next ones."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.model import Temporality
from tests.model import process
from tests.model.edges import HERE
from tests.model.environment import Environment, new_environment
from tests.model.explorer import Decisions, Exploration, Step, Violation, every_run, explore
from tests.model.machine import CLOCK_STEP, TICK, Disk
from tests.model.process import Memory
from tests.model.scenario import CALM_TICKS, Scenario


class State(NamedTuple):
    """The environment and, while it runs, the sidecar's process."""

    environment: Environment
    memory: Memory | None


def run(scenario: Scenario) -> Exploration:
    """Explore a scenario."""
    HERE.kinds = scenario.kinds
    HERE.responses = ("acknowledged", *scenario.responses)
    HERE.durable_first = scenario.durable_first
    HERE.temporality = scenario.temporality
    start = State(new_environment(scenario.sources, scenario.packets(0)), None)
    return explore(start, _Steps(scenario), _key, faults=scenario.faults)


def _key(state: State) -> Hashable:
    environment = state.environment
    return environment._replace(disk=Disk()), environment.disk.key, state.memory.key if state.memory else b""


class _Steps:
    """Every step that may come next in a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def __call__(self, state: State, budget: int) -> Iterator[Step[State]]:
        tick = state.environment.tick
        if tick >= self._scenario.ticks + CALM_TICKS:
            return
        if tick >= self._scenario.ticks:
            budget = 0
        yield from self._cycles(state, budget)
        if state.environment.late:
            late = state.environment.late_arrived()
            yield self._step("the late request arrives", 0, late, state.memory)
        if budget:
            if "stop" in self._scenario.kinds and state.memory:
                yield from self._runs(state, budget, "SIGTERM", process.shut_down)
            for label, environment, alive in self._events(state):
                yield self._step(label, 1, environment, state.memory if alive else None)

    def _step(self, label: str, faults: int, environment: Environment, memory: Memory | None) -> Step[State]:
        if memory is None:
            environment = _abandoned(environment)
        settled = environment.tick >= self._scenario.ticks + CALM_TICKS
        plain = self._scenario.temporality is Temporality.DELTA
        violation = environment.violation(settled=settled, value_counts=not plain)
        return Step(label, faults, State(environment, memory), violation)

    def _cycles(self, state: State, budget: int) -> Iterator[Step[State]]:
        cycle = process.once if self._scenario.once else process.cycle
        environment = _with_traffic(self._scenario, state.environment)
        yield from self._runs(State(environment, state.memory), budget, f"tick {environment.tick}", cycle)
        if budget and "idle" in self._scenario.kinds:
            idle = _later(state.environment)
            name = f"tick {idle.tick} without packets"
            for step in self._runs(State(idle, state.memory), budget - 1, name, cycle):
                yield replace(step, faults=step.faults + 1)

    def _runs(self, state: State, budget: int, name: str, act: Any) -> Iterator[Step[State]]:
        def run_once(decisions: Decisions) -> tuple[State, str]:
            HERE.enter(state.environment, decisions)
            HERE.may_crash("nothing")
            try:
                memory = act(state.memory or self._scenario)
            except Violation as violation:
                return State(HERE.environment, None), str(violation)
            return State(_collected(_cycled(HERE.environment, memory), memory), memory), ""

        for decisions, (after, violation) in every_run(run_once, budget):
            if violation:
                yield Step(_label(name, decisions.labels), decisions.faults, after, violation)
                continue
            yield from self._scraped(_label(name, decisions.labels), decisions.faults, after, budget)
            for crash in HERE.crashes:
                left = State(crash.environment, None)
                yield from self._scraped(_label(name, crash.labels), crash.faults, left, budget)

    def _scraped(self, label: str, faults: int, state: State, budget: int) -> Iterator[Step[State]]:
        yield self._step(label, faults, state.environment.scraped(), state.memory)
        if "scrape" in self._scenario.kinds and faults < budget:
            yield self._step(f"{label}, not scraped", faults + 1, state.environment, state.memory)

    def _events(self, state: State) -> Iterator[tuple[str, Environment, bool]]:
        environment, alive, kinds = state.environment, state.memory is not None, self._scenario.kinds
        if "crash" in kinds and alive:
            yield "sidecar killed", environment, False
        if "collector" in kinds:
            yield "Collector restarted", environment.collector_restarted(), alive
        if "failover" in kinds:
            yield "failed over", environment.failed_over(), alive
        if "forget" in kinds:
            yield "Collector forgot the streams", environment.collector_forgot(), alive
        kernel = environment.kernel
        for sign, way in ((-1, "back"), (1, "forward")):
            if f"clock_{way}" in kinds:
                offset = kernel.clock_offset + sign * CLOCK_STEP
                stepped = kernel._replace(clock_offset=offset)
                yield f"clock stepped {way}", environment._replace(kernel=stepped), alive
        expected = environment.expected._replace(wiped=True)
        if "wipe" in kinds and environment.disk.journal:
            yield "journal wiped", environment._replace(disk=Disk(), expected=expected), alive
            damaged = Disk(b"damaged", b"damaged")
            yield "journal damaged", environment._replace(disk=damaged, expected=expected), alive
        yield from self._map_events(environment, state.memory)

    def _map_events(
        self, environment: Environment, memory: Memory | None
    ) -> Iterator[tuple[str, Environment, bool]]:
        kinds, alive = self._scenario.kinds, memory is not None
        # Traffic goes on until the map is replaced, and no cycle reads it.
        counted = environment
        for source in range(self._scenario.sources):
            counted = counted.counted(source, 4 * self._scenario.packets(environment.tick))
        kernel = counted.kernel
        if "reboot" in kinds:
            for disk in environment.disk.after_power_cut():
                lost = "" if disk.journal == environment.disk.journal else ", what was not flushed is lost"
                freed = counted.freed({held.id for held in kernel.maps})
                rebooted = freed._replace(kernel=kernel.rebooted(), disk=disk)
                yield f"machine rebooted{lost}", rebooted, False
        if kernel.active != kernel.pinned:
            return
        # A map that no process has opened yet cannot be read once its pin is gone.
        unopened = {kernel.pinned[0]} - process.held(memory) if memory else set()
        for label, before in self._reloads(environment, counted):
            reloaded = before.kernel.pinned_new(0, 0).attached().without(unopened)
            yield label, before.freed(unopened)._replace(kernel=reloaded), alive
        if "slow_reload" in kinds and alive:
            pinned = environment.kernel.pinned_new(0, environment.tick + 2)
            reloaded = environment._replace(kernel=pinned)
            yield "new map pinned, its program not attached yet", reloaded, alive
        for older in kernel.maps:
            if "roll_back" in kinds and alive and older.source == 0 and older.id != kernel.pinned[0]:
                back = kernel._replace(pinned=(older.id, *kernel.pinned[1:])).attached()
                rolled = counted.freed(unopened)._replace(kernel=back.without(unopened))
                yield "rolled back to the map before", rolled, alive
        if "empty" in kinds:
            here = kernel.map(kernel.pinned[0])
            emptied = kernel.changed(here.id, count=0, written=0, frozen=0, cycled=0)
            expected = counted.expected.may_lose(0, here.count - here.frozen)
            yield "map emptied", counted._replace(kernel=emptied, expected=expected), alive

    def _reloads(self, environment: Environment, counted: Environment) -> Iterator[tuple[str, Environment]]:
        if "reload" in self._scenario.kinds:
            yield "program reloaded", counted
        if "idle_reload" in self._scenario.kinds:
            yield "program reloaded before it counted anything more", environment


def _label(name: str, labels: Sequence[str]) -> str:
    return f"{name}: {', '.join(labels)}" if labels else name


def _later(environment: Environment) -> Environment:
    """Return the environment one tick later."""
    uptime = environment.kernel.uptime + TICK
    return environment._replace(tick=environment.tick + 1, kernel=environment.kernel._replace(uptime=uptime))


def _with_traffic(scenario: Scenario, environment: Environment) -> Environment:
    """Return the environment after a tick with packets, in the middle of which a program may be attached."""
    environment = _later(environment)
    packets = scenario.packets(environment.tick)
    if 0 < environment.kernel.attached_in <= environment.tick:
        environment = environment.counted(0, 2 * packets)
        environment = environment._replace(kernel=environment.kernel.attached())
    for source in range(scenario.sources):
        environment = environment.counted(source, packets)
    return environment


def _abandoned(environment: Environment) -> Environment:
    """Return the environment when no process holds a map or a temporary file."""
    kernel = environment.kernel.attached()
    environment = environment._replace(
        kernel=kernel, disk=environment.disk._replace(new=None, new_flushed=None)
    )
    return environment.freed({held.id for held in kernel.maps if held.id not in kernel.pinned})


def _cycled(environment: Environment, memory: Memory | None) -> Environment:
    """Note what a complete cycle read, which must be in the journal."""
    kernel = environment.kernel
    if memory is not None and not HERE.troubled:
        for map_id in process.held(memory) | set(kernel.pinned):
            kernel = kernel.changed(map_id, cycled=kernel.map(map_id).count)
    return environment._replace(kernel=kernel)


def _collected(environment: Environment, memory: Memory | None) -> Environment:
    """Remove maps that no pin, program or process holds; the sidecar released them as reported: no loss."""
    if memory is None:
        return environment
    kernel = environment.kernel
    held = process.held(memory) | {*kernel.pinned, *kernel.active}
    return environment._replace(
        kernel=kernel.without({each.id for each in kernel.maps if each.id not in held})
    )
