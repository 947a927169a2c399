# SPDX-License-Identifier: Apache-2.0
"""The counters of a sidecar in Prometheus, from raw samples, so that nothing is extrapolated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from demo.errors import DemoError
from demo.ports import Ports
from demo.prometheus import METRICS, ask, fetch
from demo.tap import FIELDS, Counts

ZERO: Mapping[str, int] = dict.fromkeys(FIELDS, 0)
_WINDOW = "6h"


class Store(NamedTuple):
    """
    A Prometheus that has the counters.

    Attributes:
        ports: Where it listens.
        metrics: The name of each field there.

    """

    ports: Ports
    metrics: Mapping[str, str] = METRICS


def by_otlp(ports: Ports) -> Store:
    """Return a Prometheus that receives OTLP: it adds no `xdp_`, and `_total` to each counter."""
    names = {name: metric.removeprefix("xdp_").removesuffix("_total") for name, metric in METRICS.items()}
    return Store(ports, {name: f"{metric}_total" for name, metric in names.items()})


@dataclass(frozen=True)
class Seen:
    """
    The counters of one sidecar in Prometheus.

    Attributes:
        increase: The growth of each since 0; after a reset, the new value is added.
        value: The current value of each.
        resets: How often the packet counter decreased.
        steady_s: How long the packet counter has been constant, by the timestamps of its samples.

    """

    increase: Counts
    value: Counts
    resets: int
    steady_s: float


def add(*counts: Mapping[str, int]) -> Counts:
    """Return the sum, field by field."""
    return {field: sum(addend[field] for addend in counts) for field in FIELDS}


def minus(left: Mapping[str, int], right: Mapping[str, int]) -> Counts:
    """Return the difference, field by field."""
    return {field: left[field] - right[field] for field in FIELDS}


def seen(store: Store, instance: str) -> Seen:
    """
    Query *store* for the sidecar whose `service.instance.id` is *instance*.

    Raises DemoError if the query fails or a counter has two series.
    """
    timed = _samples(store, instance)
    samples = {field: [value for _, value in timed[field]] for field in FIELDS}
    return Seen(
        increase={field: increase(samples[field]) for field in FIELDS},
        value={field: samples[field][-1] if samples[field] else 0 for field in FIELDS},
        resets=sum(now < before for before, now in pairwise(samples["total_packets"])),
        steady_s=_steady_s(timed["total_packets"]),
    )


def hidden(ports: Ports, instance: str, deaths: Sequence[tuple[float, Counts]]) -> Counts:
    """
    Return what PromQL loses because a counter started again at 0 and was never seen below its old value.

    *deaths* are the ends of the Collector: Unix time in seconds, and the values scraped last.
    """
    timed = _samples(Store(ports), instance)
    ends = [*(at for at, _ in deaths[1:]), math.inf]
    lost = dict(ZERO)
    for (start, scraped), end in zip(deaths, ends, strict=True):
        for field in FIELDS:
            first = next((value for at, value in timed[field] if start < at < end), None)
            if first is None or first >= scraped[field]:
                lost[field] += scraped[field]
    return lost


def _samples(store: Store, instance: str) -> dict[str, list[tuple[float, int]]]:
    """Return the (Unix time, value) samples of each field."""
    names = "|".join(store.metrics.values())
    samples: dict[str, list[tuple[float, int]]] = {}
    for series in ask(store.ports, f'{{__name__=~"{names}", instance="{instance}"}}[{_WINDOW}]'):
        name = series["metric"]["__name__"]
        if name in samples:
            raise DemoError(
                f"cannot read {name} of {instance}: two series: {series['metric']} is one of them"
            )
        samples[name] = [(at, int(value)) for at, value in series["values"]]
    return {each: samples.get(store.metrics[each], []) for each in FIELDS}


def _steady_s(samples: Sequence[tuple[float, int]]) -> float:
    """Return how long the value of the (time, value) samples has been constant, seconds."""
    if not samples:
        return 0.0
    (last, value), since = samples[-1], samples[-1][0]
    for at, earlier in reversed(samples):
        if earlier != value:
            break
        since = at
    return last - since


def held(ports: Ports, instance: str) -> Counts:
    """Return the counters that the Collector serves for a sidecar; raise DemoError if it does not respond."""
    url = f"http://127.0.0.1:{ports.metrics}/metrics"
    try:
        lines = [line for line in fetch(url).splitlines() if f'instance="{instance}"' in line]
    except OSError as error:
        raise DemoError(f"cannot read {url}: {error}: check that the Collector is running") from error
    # Values over 2^20 are written as 1.234567e+06, with all digits.
    values = {line.partition("{")[0]: int(float(line.rpartition(" ")[2])) for line in lines}
    return {field: values.get(METRICS[field], 0) for field in FIELDS}


def increase(samples: Sequence[int]) -> int:
    """Return the growth over *samples* of a counter that started at 0; resets are handled as in PromQL."""
    return sum(now if now < before else now - before for before, now in pairwise((0, *samples)))
