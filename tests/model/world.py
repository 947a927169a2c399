# SPDX-License-Identifier: Apache-2.0
"""The sidecar in a world that may do anything to it: the steps from each state to the next ones."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.model import Temporality
from tests.model import process
from tests.model.edges import HERE
from tests.model.explorer import Asked, Exploration, Step, Wrong, every_run, explore
from tests.model.machine import CLOCK_STEP, TICK, Disk
from tests.model.outside import Outside, new_world
from tests.model.process import Memory
from tests.model.scenario import CALM_TICKS, Scenario


class State(NamedTuple):
    """A world and, if it runs, the sidecar in it."""

    outside: Outside
    memory: Memory | None


def run(scenario: Scenario) -> Exploration:
    """Explore a scenario."""
    HERE.kinds = scenario.kinds
    HERE.answers = ("answered", *scenario.answers)
    HERE.durable_first = scenario.durable_first
    HERE.temporality = scenario.temporality
    start = State(new_world(scenario.sources, scenario.packets(0)), None)
    return explore(start, _Steps(scenario), _key, faults=scenario.faults)


def _key(state: State) -> tuple[Outside, bytes]:
    return state.outside, state.memory.face if state.memory else b""


class _Steps:
    """Everything that may happen next in a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def __call__(self, state: State, budget: int) -> Iterator[Step[State]]:
        tick = state.outside.tick
        if tick >= self._scenario.ticks + CALM_TICKS:
            return
        if tick >= self._scenario.ticks:
            budget = 0
        yield from self._cycles(state, budget)
        if state.outside.late:
            late = state.outside.late_arrived()
            yield self._step("the late request arrives", 0, late, state.memory)
        if budget:
            if "stop" in self._scenario.kinds and state.memory:
                yield from self._runs(state, budget, "SIGTERM", process.farewell)
            for label, outside, alive in self._events(state):
                yield self._step(label, 1, outside, state.memory if alive else None)

    def _step(self, label: str, faults: int, outside: Outside, memory: Memory | None) -> Step[State]:
        if memory is None:
            outside = _abandoned(outside)
        settled = outside.tick >= self._scenario.ticks + CALM_TICKS
        plain = self._scenario.temporality is Temporality.DELTA
        wrong = outside.wrong(settled=settled, value_counts=not plain)
        return Step(label, faults, State(outside, memory), wrong)

    def _cycles(self, state: State, budget: int) -> Iterator[Step[State]]:
        cycle = process.once if self._scenario.once else process.cycle
        outside = _with_traffic(self._scenario, state.outside)
        yield from self._runs(State(outside, state.memory), budget, f"tick {outside.tick}", cycle)
        if budget and "quiet" in self._scenario.kinds:
            quiet = _later(state.outside)
            name = f"tick {quiet.tick} without packets"
            for step in self._runs(State(quiet, state.memory), budget - 1, name, cycle):
                yield replace(step, faults=step.faults + 1)

    def _runs(self, state: State, budget: int, name: str, act: Any) -> Iterator[Step[State]]:
        def one(asked: Asked) -> tuple[State, str]:
            HERE.enter(state.outside, asked)
            HERE.may_crash("nothing")
            try:
                memory = act(state.memory or self._scenario)
            except Wrong as wrong:
                return State(HERE.outside, None), str(wrong)
            return State(_collected(_cycled(HERE.outside, memory), memory), memory), ""

        for asked, (after, wrong) in every_run(one, budget):
            if wrong:
                yield Step(_label(name, asked.labels), asked.faults, after, wrong)
                continue
            yield from self._scraped(_label(name, asked.labels), asked.faults, after, budget)
            for crash in HERE.crashes:
                left = State(crash.outside, None)
                yield from self._scraped(_label(name, crash.labels), crash.faults, left, budget)

    def _scraped(self, label: str, faults: int, state: State, budget: int) -> Iterator[Step[State]]:
        yield self._step(label, faults, state.outside.scraped(), state.memory)
        if "scrape" in self._scenario.kinds and faults < budget:
            yield self._step(f"{label}, not scraped", faults + 1, state.outside, state.memory)

    def _events(self, state: State) -> Iterator[tuple[str, Outside, bool]]:
        outside, alive, kinds = state.outside, state.memory is not None, self._scenario.kinds
        if "crash" in kinds and alive:
            yield "sidecar killed", outside, False
        if "collector" in kinds:
            yield "Collector restarted", outside.collector_restarted(), alive
        if "failover" in kinds:
            yield "failed over", outside.failed_over(), alive
        if "forget" in kinds:
            yield "Collector forgot the streams", outside.collector_forgot(), alive
        kernel = outside.kernel
        for sign, way in ((-1, "back"), (1, "forward")):
            if f"clock_{way}" in kinds:
                offset = kernel.clock_offset + sign * CLOCK_STEP
                stepped = kernel._replace(clock_offset=offset)
                yield f"clock stepped {way}", outside._replace(kernel=stepped), alive
        ledger = outside.ledger._replace(wiped=True)
        if "wipe" in kinds and outside.disk.journal:
            yield "journal wiped", outside._replace(disk=Disk(), ledger=ledger), alive
            damaged = Disk(b"damaged", b"damaged")
            yield "journal damaged", outside._replace(disk=damaged, ledger=ledger), alive
        yield from self._map_events(outside, state.memory)

    def _map_events(self, outside: Outside, memory: Memory | None) -> Iterator[tuple[str, Outside, bool]]:
        kinds, busy, alive = self._scenario.kinds, outside, memory is not None
        for source in range(self._scenario.sources):
            busy = busy.counted(source, 4 * self._scenario.packets(outside.tick))
        kernel = busy.kernel
        if "reboot" in kinds:
            for disk in outside.disk.after_power_cut():
                lost = "" if disk.journal == outside.disk.journal else ", what was not flushed is lost"
                dead = busy.buried({one.id for one in kernel.maps})
                rebooted = dead._replace(kernel=kernel.rebooted(), disk=disk)
                yield f"machine rebooted{lost}", rebooted, False
        if kernel.active != kernel.pinned:
            return
        # A map that no process has opened yet is nobody's to read once its pin is gone.
        unseen = {kernel.pinned[0]} - process.held(memory) if memory else set()
        for label, before in self._reloads(outside, busy):
            reloaded = before.kernel.pinned_new(0, 0).attached().without(unseen)
            yield label, before.buried(unseen)._replace(kernel=reloaded), alive
        if "slow_reload" in kinds and alive:
            pinned = outside.kernel.pinned_new(0, outside.tick + 2)
            reloaded = outside._replace(kernel=pinned)
            yield "new map pinned, its program not attached yet", reloaded, alive
        for older in kernel.maps:
            if "roll_back" in kinds and alive and older.source == 0 and older.id != kernel.pinned[0]:
                back = kernel._replace(pinned=(older.id, *kernel.pinned[1:])).attached()
                rolled = busy.buried(unseen)._replace(kernel=back.without(unseen))
                yield "rolled back to the map before", rolled, alive
        if "empty" in kinds:
            here = kernel.map(kernel.pinned[0])
            emptied = kernel.changed(here.id, count=0, written=0, frozen=0, cycled=0)
            ledger = busy.ledger.may_lose(0, here.count - here.frozen)
            yield "map emptied", busy._replace(kernel=emptied, ledger=ledger), alive

    def _reloads(self, outside: Outside, busy: Outside) -> Iterator[tuple[str, Outside]]:
        if "reload" in self._scenario.kinds:
            yield "program reloaded", busy
        if "quiet_reload" in self._scenario.kinds:
            yield "program reloaded before it counted anything more", outside


def _label(name: str, labels: Sequence[str]) -> str:
    return f"{name}: {', '.join(labels)}" if labels else name


def _later(outside: Outside) -> Outside:
    """A tick passes."""
    uptime = outside.kernel.uptime + TICK
    return outside._replace(tick=outside.tick + 1, kernel=outside.kernel._replace(uptime=uptime))


def _with_traffic(scenario: Scenario, outside: Outside) -> Outside:
    """A tick passes and packets come; in the middle of it a program may take over with its pinned map."""
    outside = _later(outside)
    packets = scenario.packets(outside.tick)
    if 0 < outside.kernel.attached_in <= outside.tick:
        outside = outside.counted(0, 2 * packets)
        outside = outside._replace(kernel=outside.kernel.attached())
    for source in range(scenario.sources):
        outside = outside.counted(source, packets)
    return outside


def _abandoned(outside: Outside) -> Outside:
    """No process holds a map or a temporary file any more."""
    kernel = outside.kernel.attached()
    outside = outside._replace(kernel=kernel, disk=outside.disk._replace(new=None, new_flushed=None))
    return outside.buried({one.id for one in kernel.maps if one.id not in kernel.pinned})


def _cycled(outside: Outside, memory: Memory | None) -> Outside:
    """After a whole cycle, all that the maps hold must be in the journal."""
    kernel = outside.kernel
    if memory is not None and not HERE.troubled:
        for map_id in process.held(memory) | set(kernel.pinned):
            kernel = kernel.changed(map_id, cycled=kernel.map(map_id).count)
    return outside._replace(kernel=kernel)


def _collected(outside: Outside, memory: Memory | None) -> Outside:
    """A map ends when neither pin nor program nor process holds it. It was let go as reported: no loss."""
    if memory is None:
        return outside
    kernel = outside.kernel
    held = process.held(memory) | {*kernel.pinned, *kernel.active}
    return outside._replace(kernel=kernel.without({one.id for one in kernel.maps if one.id not in held}))
