# SPDX-License-Identifier: Apache-2.0
"""Refuse what would make two streams one, in OTLP or in Prometheus: name and attributes tell them apart."""

from collections.abc import Iterable

from sidecar.describe import prometheus_names
from sidecar.describe.spec import MetricSpec, SourceSpec
from sidecar.describe.suggest import at_line
from sidecar.errors import ConfigError
from sidecar.model import Attribute
from sidecar.schema import OVERFLOW, SOURCE_ATTRIBUTE


def refuse_clashes(spec: SourceSpec) -> None:
    """Raise ConfigError if an attribute is said twice of one point, or two metrics make the same stream."""
    of_series = [(name, spec.at) for name, _ in spec.attributes]
    of_series += [(part.attribute, part.at) for part in spec.key or ()]
    of_series += [(spec.cpu, spec.at)] if spec.cpu else []
    _refuse_twice(of_series)
    for metric in spec.metrics or ():
        _refuse_twice(of_series + [(name, metric.at) for name, _ in metric.attributes])
    _refuse_same_stream(spec.metrics or ())


def _refuse_twice(attributes: Iterable[tuple[str, str]]) -> None:
    met = {prometheus_names.label(name): (name, "") for name in (SOURCE_ATTRIBUTE, OVERFLOW[0])}
    for name, at in attributes:
        what, label = at_line(at, f"attribute {name!r}"), prometheus_names.label(name)
        if cause := prometheus_names.refused(name):
            raise ConfigError(what, cause, f"name it {prometheus_names.usable(name)!r}")
        if label in met:
            other, place = met[label]
            cause = f"it is said at {place} too" if place else "it is there already"
            if name != other:
                cause = f"in Prometheus it is the same as {other!r}"
            raise ConfigError(
                what,
                "what is beyond the series limit has it" if name == OVERFLOW[0] else cause,
                "give one of them another name",
            )
        met[label] = (name, at)


def _refuse_same_stream(metrics: Iterable[MetricSpec]) -> None:
    first: dict[str, MetricSpec] = {}
    streams: dict[tuple[str, frozenset[object]], MetricSpec] = {}
    for metric in metrics:
        what = at_line(metric.at, f"metric {metric.name!r}")
        in_prometheus = prometheus_names.metric(metric.name)
        other = first.setdefault(in_prometheus, metric)
        if metric.name != other.name:
            raise ConfigError(
                what, f"in Prometheus it is the same as {other.name!r}", "give one of them another name"
            )
        stream = (in_prometheus, frozenset(map(_as_label, metric.attributes)))
        if stream in streams:
            raise ConfigError(
                what,
                f"the same name and attributes as at {streams[stream].at or streams[stream].field}",
                "give one of them another name, or attributes that differ",
            )
        streams[stream] = metric
        for said in ("unit", "kind", "description"):
            if getattr(metric, said) != getattr(other, said):
                raise ConfigError(
                    what,
                    f"another {said} than at {other.at or other.field}, under one name",
                    f"give it the same {said}, or another name",
                )


def _as_label(attribute: Attribute) -> tuple[str, str]:
    name, value = attribute
    return prometheus_names.label(name), prometheus_names.value(value)
