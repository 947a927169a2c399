# SPDX-License-Identifier: Apache-2.0
"""
Which streams a source may write, and whether another may write the same (pure).

OTLP tells streams apart by resource, metric and attributes, Prometheus by the names and labels that it makes
of them: two writers of one would make nonsense of both.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sidecar.describe import prometheus_names
from sidecar.errors import ConfigError
from sidecar.schema import Schema


class Streams(NamedTuple):
    """
    What a schema writes, as Prometheus calls it.

    Attributes:
        metrics: The metrics.
        constant: Labels and their values that all its series have.
        varying: The other labels that a series may have.

    """

    metrics: frozenset[str]
    constant: frozenset[tuple[str, str]]
    varying: frozenset[str]


def streams_of(schema: Schema) -> Streams:
    """Return which streams a schema writes."""
    names = [*schema.labels, *(name for one in schema.instruments for name, _ in one.attributes)]
    return Streams(
        frozenset(prometheus_names.metric(one.name) for one in schema.instruments),
        frozenset(
            (prometheus_names.label(name), prometheus_names.value(value)) for name, value in schema.attributes
        ),
        frozenset(prometheus_names.label(name) for name in (*names, *([schema.cpu] if schema.cpu else ()))),
    )


def meeting(claims: Iterable[tuple[str, Streams]]) -> set[str]:
    """
    Return the sources of which a stream may be another's too.

    Args:
        claims: What each source writes, after its name; one may have several.

    """
    by_metric: dict[str, list[tuple[str, Streams]]] = {}
    for claim in claims:
        for metric in claim[1].metrics:
            by_metric.setdefault(metric, []).append(claim)
    return {name for alike in by_metric.values() for name in _meeting(alike)}


def _meeting(claims: Sequence[tuple[str, Streams]]) -> Iterable[str]:
    """Return those that no label tells apart which is constant wherever it is."""
    varying = frozenset().union(*(one.varying for _, one in claims))
    alike: dict[frozenset[tuple[str, str]], set[str]] = {}
    for name, one in claims:
        telling = frozenset((label, value) for label, value in one.constant if label not in varying)
        alike.setdefault(telling, set()).add(name)
    return (name for names in alike.values() if len(names) > 1 for name in names)


def refuse_two_kinds(schemas: Iterable[tuple[str, Schema]]) -> None:
    """Raise ConfigError if a metric is a counter in one source only: Prometheus would show one of the two."""
    first: dict[str, tuple[bool, str]] = {}
    for name, schema in schemas:
        for one in schema.instruments:
            is_counter = one.kind.is_monotonic
            met, where = first.setdefault(prometheus_names.metric(one.name), (is_counter, name))
            if met != is_counter:
                raise ConfigError(
                    f"read {name} and {where}",
                    f"metric {one.name!r} is a counter in one of them only: Prometheus would show but one",
                    "give it another name in one of them",
                )
