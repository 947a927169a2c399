# SPDX-License-Identifier: Apache-2.0
"""Changes below the sidecar: program, map, interface, clock, the whole machine."""

from collections.abc import Callable
from pathlib import Path

from chaos.counters import ZERO, add, minus
from chaos.node import Node
from chaos.program import Pinned
from chaos.proxy import Weather
from chaos.stage import Stage
from demo.tap import Counts

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def program_reload(stage: Stage) -> None:
    """Load a new program with a new map under the same pin, under traffic."""
    program = Pinned(stage.name)
    node = stage.node(program=program)
    reloads = stage.times(5, 2)
    for _ in range(reloads):
        stage.wait(0.5, 2.0)
        program.reload()
    stage.record(node, note=f"{reloads} reloads")


def program_reload_pin_first(stage: Stage) -> None:
    """Pin the new map while the old program still counts, as many loaders do."""
    program = Pinned(stage.name)
    node = stage.node(program=program)
    bound = dict(ZERO)
    reloads = stage.times(5, 2)
    for _ in range(reloads):
        stage.wait(0.5, 2.0)
        # What the old map counts after its pin is gone.
        bound = add(bound, program.reload_pin_first(lambda: stage.wait(0.0, 0.5)))
    stage.record(node, bound=bound, note=f"{reloads} reloads")


def double_reload(stage: Stage) -> None:
    """Load several new programs, one per cycle, while a batch is in flight."""
    program = Pinned(stage.name)
    proxy = stage.proxy()
    short = {"OTEL_EXPORTER_OTLP_TIMEOUT": "300"}
    node = stage.node(program=program, endpoint=proxy.port, environment=short)
    stage.wait(1.0)
    reloads = 0
    for _ in range(stage.times(4, 2)):
        proxy.weather = stage.chance.choice((Weather.SWALLOW, Weather.CUT, Weather.HOLE))
        stage.wait(0.5, 1.0)
        for _ in range(stage.chance.randint(2, 4)):
            cycles = node.cycles()
            program.reload()
            # A map that is replaced before any cycle has read it cannot be read any more.
            stage.until(lambda cycles=cycles: node.cycles() >= cycles + 2, 10)  # type: ignore[misc]
            reloads += 1
        proxy.weather = Weather.FAIR
        stage.wait(1.0, 2.0)
    stage.record(node, note=f"{reloads} reloads")


def detach_under_way(stage: Stage) -> None:
    """Detach while a sidecar counts, and start a second one: refused, or exact with a single writer."""
    node = stage.node()
    wrong, refused = [], 0
    times = stage.times(4, 2)
    for number in range(times):
        stage.wait(1.0, 2.0)
        node.hold()
        stage.wait(0.2)  # for frames in flight
        counted, map_id = node.kernel_here(), node.map_id()
        code, output = node.detach()
        refused += code != 0
        if "Traceback" in output:
            wrong.append(f"detach exited with a traceback: {output}")
        if not stage.until(node.pin.exists, 10):
            wrong.append("the program was not attached again after detach")
            break
        if node.map_id() != map_id:
            node.finish(counted)
        node.send()
        code, output = node.run_second(node.state.with_name(f"second{number}"))
        if not 2 <= code <= 6 or "Traceback" in output:
            wrong.append(f"the second sidecar exited with {code}: {output}")
    stage.record(node, note=f"detach was refused {refused} of {times} times", problems=wrong)


def map_emptied(stage: Stage) -> None:
    """Zero the map: after a cycle without traffic, and between two cycles."""
    node = stage.node()
    times = stage.times(3, 2)
    for _ in range(times):
        stage.wait(1.0, 2.0)
        node.hold()
        stage.wait(4 * node.interval_s)
        node.empty()
    logged = stage.until(lambda: node.log().count("another process wrote to the map") == times, 5)
    wrong = [] if logged else ["not each was logged"]
    stage.record(node, "at rest", note=f"{times} times", problems=wrong)
    node.send()
    stage.wait(1.5)
    bound = _one_cycle(stage, node, node.empty)
    stage.wait(1.5)
    stage.record(node, "between cycles", bound=bound)


def _one_cycle(stage: Stage, node: Node, harm: Callable[[], None]) -> Counts:
    """Call *harm* at a random moment; return an upper bound of the counts since the last cycle."""
    stage.wait(0.0, node.interval_s)
    read = node.kernel()
    stage.wait(2.5 * node.interval_s)
    harm()
    return minus(node.kernel(), read)


def interface_remade(stage: Stage) -> None:
    """Remove the interface and recreate it; the sidecar recovers by itself."""
    node = stage.node()
    times = stage.times(3)
    for _ in range(times):
        stage.wait(1.0, 2.0)
        node.lab.unplug()
        stage.wait(0.0, 1.0)
        node.lab.plug()
        node.lab.connect()
        node.send()
        stage.wait(1.5)
    before = node.kernel()
    stage.wait(1.0)
    wrong = [] if minus(node.kernel(), before)["total_packets"] else ["the new interface is not counted"]
    stage.record(node, note=f"{times} times", problems=wrong)


def clock_step(stage: Stage) -> None:
    """Step the wall clock an hour back, forward, and back again."""
    clock = stage.directory / "clock"
    _set(clock, hours=0)
    node = stage.node(environment={"CHAOS_CLOCK": str(clock)})
    for hours in (-1, 0, 1, 0, -1, 2, 0):
        stage.wait(stage.seconds(2.0, 1.0))
        _set(clock, hours=hours)
        if stage.chance.random() < 0.3:
            node.sidecar.kill()
            node.sidecar.launch()
    stage.wait(1.0)
    stage.record(node)


def _set(clock: Path, *, hours: int) -> None:
    # Atomically: the sidecar may read it at any moment.
    new = clock.with_name("clock.new")
    new.write_text(str(hours * 3600))
    new.replace(clock)


def reboot(stage: Stage) -> None:
    """Reboot during an outage: a new boot id, the same map id, counters from zero."""
    proxy = stage.proxy()
    node = stage.node(endpoint=proxy.port, environment={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"})
    stage.wait(1.5)
    proxy.weather = stage.chance.choice((Weather.CUT, Weather.HOLE))
    stage.wait(stage.seconds(4.0, 2.0))

    def power_off() -> None:
        node.sidecar.kill()
        node.hold()

    bound = _one_cycle(stage, node, power_off)
    boot_id = stage.directory / "boot_id"
    boot_id.write_text(f"{_BOOT_ID.read_text()[:-9]}ffffffff\n")
    node.empty()
    mount = f'mount --bind {boot_id} {_BOOT_ID}; exec "$@"'
    node.sidecar.command = ["unshare", "--mount", "sh", "-ec", mount, "sh", *node.sidecar.command]
    stage.wait(0.5)
    node.sidecar.start()
    stage.wait(1.0)
    proxy.weather = Weather.FAIR
    stage.wait(1.0)
    stage.record(node, bound=bound)
