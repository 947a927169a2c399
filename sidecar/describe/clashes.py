# SPDX-License-Identifier: Apache-2.0
"""Refuse the attributes and metrics of a source that OTLP or Prometheus could not tell apart (pure)."""

from collections.abc import Iterable

from sidecar.describe import prometheus_names
from sidecar.describe.entry_error import entry_error
from sidecar.describe.spec import MetricSpec, SourceSpec
from sidecar.schema import OVERFLOW, SOURCE_ATTRIBUTE


def refuse_clashes(spec: SourceSpec) -> None:
    """Raise ConfigError if a point has an attribute twice, or two metrics write the same stream."""
    of_series = [(name, spec.at) for name, _ in spec.attributes]
    of_series += [(part.attribute, part.at) for part in spec.key or ()]
    of_series += [(spec.cpu, spec.at)] if spec.cpu else []
    _refuse_same_label(of_series)
    for metric in spec.metrics or ():
        _refuse_same_label(of_series + [(name, metric.at) for name, _ in metric.attributes])
    _refuse_same_stream(spec.metrics or ())


def _refuse_same_label(attributes: Iterable[tuple[str, str]]) -> None:
    reserved = {
        SOURCE_ATTRIBUTE: "reserved to distinguish sources",
        OVERFLOW[0]: "reserved for the series that aggregates the rest beyond the series limit",
    }
    seen = {prometheus_names.label(name): (name, cause) for name, cause in reserved.items()}
    for name, at in attributes:
        entry, label = f"attribute {name!r}", prometheus_names.label(name)
        if cause := prometheus_names.refused(name):
            raise entry_error(at, entry, cause, f"name it {prometheus_names.usable(name)!r}")
        if label in seen:
            other, cause = seen[label]
            cause = cause if name == other else f"in Prometheus it is the same as {other!r}"
            raise entry_error(at, entry, cause, "give one of them another name")
        seen[label] = (name, f"also defined at {at}" if at else "defined twice")


def _refuse_same_stream(metrics: Iterable[MetricSpec]) -> None:
    first: dict[str, MetricSpec] = {}
    streams: dict[tuple[str, frozenset[object]], MetricSpec] = {}
    for metric in metrics:
        entry = f"metric {metric.name!r}"
        in_prometheus = prometheus_names.metric(metric.name)
        other = first.setdefault(in_prometheus, metric)
        if metric.name != other.name:
            raise entry_error(
                metric.at,
                entry,
                f"in Prometheus it is the same as {other.name!r}",
                "give one of them another name",
            )
        stream = (in_prometheus, frozenset(map(prometheus_names.label_pair, metric.attributes)))
        if stream in streams:
            raise entry_error(
                metric.at,
                entry,
                f"the same name and attributes as at {streams[stream].at or streams[stream].field}",
                "give one of them another name, or attributes that differ",
            )
        streams[stream] = metric
        for aspect in ("unit", "kind", "description"):
            if getattr(metric, aspect) != getattr(other, aspect):
                raise entry_error(
                    metric.at,
                    entry,
                    f"another {aspect} than at {other.at or other.field}, under one name",
                    f"give it the same {aspect}, or another name",
                )
