# SPDX-License-Identifier: Apache-2.0
"""Failures of the network between sidecar and Collector."""

from chaos.node import Mode
from chaos.proxy import Weather
from chaos.stage import Stage

_SHORT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}
_RSS_GROWTH_KIB = 2048
_JOURNAL_GROWTH_BYTES = 256


def network_cut(stage: Stage) -> None:
    """Reset connections, or stall them silently."""
    _weather(stage, (Weather.CUT, Weather.HOLE), modes=(Mode.BASE,))


def answers_lost(stage: Stage) -> None:
    """Drop responses: the Collector has counted, but its acknowledgement is lost."""
    _weather(stage, (Weather.SWALLOW,), modes=tuple(Mode))


def answers_late(stage: Stage) -> None:
    """Delay responses beyond the timeout of the call."""
    _weather(stage, (Weather.LATE,), modes=tuple(Mode))


def _weather(stage: Stage, bad: tuple[Weather, ...], *, modes: tuple[Mode, ...]) -> None:
    proxy = stage.proxy()
    proxy.delay_s = 1.6
    nodes = [
        stage.node(mode.name.lower(), mode=mode, endpoint=proxy.port, environment=_SHORT) for mode in modes
    ]
    stage.wait(1.0)
    times = stage.times(4, 2)
    for number in range(times):
        proxy.weather = bad[number % len(bad)]
        stage.wait(0.5, 3.0)
        proxy.weather = Weather.FAIR
        stage.wait(0.5, 1.5)
    wrong = [] if proxy.spoiled or Weather.CUT in bad else ["no response was lost or late"]
    for node in nodes:
        stage.record(node, node.mode.value, note=f"{times} times", problems=wrong)


def collector_away_long(stage: Stage) -> None:
    """Stop the Collector for many cycles; journal and memory do not grow."""
    node = stage.node(interval_s=0.02, environment={"CHAOS_SHORTEST": "0.02"})
    stage.wait(2.0)
    stage.collector.stop()
    cycles = node.cycles()
    stage.wait(2.0)
    begin = len(node.watch.sizes)
    stage.wait(stage.seconds(50.0, 5.0))
    away = node.watch.sizes[begin:]
    cycles = node.cycles() - cycles
    stage.collector.start()
    early, late = away[: len(away) // 4], away[-len(away) // 4 :]
    growth = max(size for _, size, _ in late) - max(size for _, size, _ in early)
    rss_growth = max(rss for _, _, rss in late) - max(rss for _, _, rss in early)
    wrong = []
    if growth > _JOURNAL_GROWTH_BYTES:
        wrong.append(f"the journal grew by {growth} bytes")
    if rss_growth > _RSS_GROWTH_KIB:
        wrong.append(f"the sidecar grew by {rss_growth} KiB")
    note = f"{cycles} cycles; journal {growth:+} bytes, RSS {rss_growth:+} KiB from first to last quarter"
    stage.record(node, note=note, problems=wrong)
