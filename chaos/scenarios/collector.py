# SPDX-License-Identifier: Apache-2.0
"""The Collector dies and loses its state; or Prometheus dies; or everything at once."""

import time

from chaos.counters import ZERO, add, held, hidden, minus, seen
from chaos.node import Mode
from chaos.proxy import Weather
from chaos.stage import Stage
from demo.ports import Ports
from scale import services


def collector_term(stage: Stage) -> None:
    """Stop the Collector with SIGTERM, repeatedly."""
    _restarts(stage, gently=True)


def collector_kill(stage: Stage) -> None:
    """Kill the Collector with SIGKILL, repeatedly."""
    _restarts(stage, gently=False)


def _restarts(stage: Stage, *, gently: bool) -> None:
    proxy = stage.proxy()
    nodes = [stage.node(mode.name.lower(), mode=mode) for mode in (Mode.BASE, Mode.CUMULATIVE)]
    plain = stage.node("delta", mode=Mode.DELTA, endpoint=proxy.port)
    restarts = stage.times(6, 3)
    unscraped = dict(ZERO)
    deaths: list[tuple[float, dict[str, int]]] = []
    stage.wait(2.0)
    for _ in range(restarts):
        stage.wait(0.2, 2.5)
        # Plain delta's loss is known only if the Collector gets nothing between this reading and its death.
        proxy.weather = Weather.HOLD
        stage.wait(0.1)
        at_stake = held(stage.ports, plain.instance)
        proxy.weather = Weather.CUT
        if gently:
            stage.collector.stop()
        else:
            stage.collector.kill()
        scraped = seen(stage.store, plain.instance).value
        deaths.append((time.time(), scraped))
        unscraped = add(unscraped, minus(at_stake, scraped))
        stage.collector.start()
        proxy.weather = Weather.FAIR
    for node in nodes:
        stage.record(node, node.mode.value, note=f"{restarts} restarts")
    bound = add(unscraped, hidden(stage.ports, plain.instance, deaths))
    stage.record(plain, plain.mode.value, bound=bound, note=f"{restarts} restarts")


def prometheus_down(stage: Stage) -> None:
    """Stop Prometheus with SIGTERM and SIGKILL, and restart it."""
    node = stage.node()
    for number in range(stage.times(3, 2)):
        stage.wait(0.5, 2.0)
        if number % 2:
            stage.prometheus.kill()
        else:
            stage.prometheus.stop()
        stage.wait(stage.seconds(3.0, 1.0))
        stage.prometheus.start()
    stage.record(node)


def two_collectors(stage: Stage) -> None:
    """Fail over to another running Collector and back: the first may undercount, never overcount."""
    second = services.collector("second", stage.directory, Ports.free(), ["config.yaml"], {})
    stage.cleanup.enter_context(second)
    second_port = int(second.env["COLLECTOR_OTLP_ENDPOINT"].rpartition(":")[2])
    proxy = stage.proxy()
    nodes = [stage.node(mode.name.lower(), mode=mode, endpoint=proxy.port) for mode in Mode]
    bounds = {node.name: dict(ZERO) for node in nodes}
    times = stage.times(4, 2)
    for _ in range(times):
        stage.wait(1.0, 2.0)
        before = {node.name: node.kernel() for node in nodes}
        stage.wait(1.5)  # until all of that is acknowledged
        proxy.target = second_port
        stage.wait(1.5, 3.0)
        proxy.target = stage.ports.otlp
        for node in nodes:
            # What the second Collector may have counted.
            bounds[node.name] = add(bounds[node.name], minus(node.kernel(), before[node.name]))
    stage.wait(1.5)
    for node in nodes:
        bound = ZERO if node.mode is Mode.CUMULATIVE else bounds[node.name]
        stage.record(node, node.mode.value, bound=bound, note=f"redirected {times} times")


def everything(stage: Stage) -> None:
    """Mix all faults: lost responses, cuts, and Collector, Prometheus and sidecar killed."""
    proxy = stage.proxy()
    short = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
    modes = (Mode.BASE, Mode.CUMULATIVE)
    nodes = [
        stage.node(mode.name.lower(), mode=mode, endpoint=proxy.port, environment=short) for mode in modes
    ]
    done = []
    for _ in range(stage.times(14, 5)):
        proxy.weather = stage.chance.choice(list(Weather))
        proxy.delay_s = stage.chance.uniform(0.2, 1.5)
        stage.wait(0.0, 1.5)
        fault = stage.chance.choice(("collector", "prometheus", "sidecar", "both", "nothing"))
        done.append(f"{proxy.weather.name.lower()}+{fault}")
        if fault == "collector":
            stage.restart_collector()
        elif fault == "prometheus":
            stage.prometheus.kill()
            stage.wait(0.0, 1.0)
            stage.prometheus.start()
        else:
            if fault == "both":
                stage.collector.kill()
            for node in nodes if fault in ("sidecar", "both") else []:
                node.sidecar.kill()
                node.sidecar.launch()
            if fault == "both":
                stage.collector.start()
    proxy.weather = Weather.FAIR
    for node in nodes:
        stage.record(node, node.mode.value, note=" ".join(done))
