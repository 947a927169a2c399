# SPDX-License-Identifier: Apache-2.0
"""
Which streams a source may write, and which sources may write the same one (pure).

OTLP identifies a stream by resource, metric and attributes, Prometheus a series by the name and the labels
made from them; two writers of one stream would corrupt it (OTLP data model, "Single-Writer").
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sidecar.describe import prometheus_names
from sidecar.errors import ConfigError
from sidecar.schema import Schema


class Streams(NamedTuple):
    """
    What a schema may write, under the names that Prometheus gives it.

    Attributes:
        metrics: The names of the metrics.
        constant: Labels, with their values, that all of its series have.
        varying: The names of the other labels that a series may have.

    """

    metrics: frozenset[str]
    constant: frozenset[tuple[str, str]]
    varying: frozenset[str]


def streams_of(schema: Schema) -> Streams:
    """Return which streams a schema may write."""
    names = [
        *schema.labels,
        *(name for instrument in schema.instruments for name, _ in instrument.attributes),
        *([schema.cpu] if schema.cpu else ()),
    ]
    return Streams(
        frozenset(
            name
            for instrument in schema.instruments
            for name in prometheus_names.series(instrument.name, instrument.kind)
        ),
        frozenset(map(prometheus_names.label_pair, schema.attributes)),
        frozenset(map(prometheus_names.label, names)),
    )


def in_conflict(claims: Iterable[tuple[str, Streams]]) -> set[str]:
    """
    Return the sources that may write a stream that another of them may write as well.

    Args:
        claims: Source names, each with the streams that it may write; a source may have several claims.

    """
    by_metric: dict[str, list[tuple[str, Streams]]] = {}
    for claim in claims:
        for metric in claim[1].metrics:
            by_metric.setdefault(metric, []).append(claim)
    return {name for claims_of_one in by_metric.values() for name in _in_conflict(claims_of_one)}


def _in_conflict(claims: Sequence[tuple[str, Streams]]) -> Iterable[str]:
    """Return the sources of one metric that differ in no label whose value is constant in all of them."""
    varying = frozenset().union(*(streams.varying for _, streams in claims))
    by_labels: dict[frozenset[tuple[str, str]], set[str]] = {}
    for name, streams in claims:
        labels = frozenset((label, value) for label, value in streams.constant if label not in varying)
        by_labels.setdefault(labels, set()).add(name)
    return (name for names in by_labels.values() if len(names) > 1 for name in names)


def refuse_two_kinds(schemas: Iterable[tuple[str, Schema]]) -> None:
    """Raise ConfigError if a metric has two types in Prometheus, by source: it would show one of the two."""
    first: dict[str, tuple[str, str]] = {}
    for name, schema in schemas:
        for instrument in schema.instruments:
            kind = instrument.kind.prometheus_type
            for series in prometheus_names.series(instrument.name, instrument.kind):
                other_kind, other = first.setdefault(series, (kind, name))
                if other_kind != kind:
                    raise ConfigError(
                        f"read {name} and {other}",
                        f"metric {instrument.name!r} is a {_one_of(kind, other_kind)} in only one of them: "
                        "Prometheus would show only one",
                        "give it another name in one of them",
                    )


def _one_of(*kinds: str) -> str:
    """Return the type that says most about two metrics that differ."""
    return next(kind for kind in ("histogram", "counter", "gauge") if kind in kinds)
