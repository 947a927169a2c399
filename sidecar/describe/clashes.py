# SPDX-License-Identifier: Apache-2.0
"""Refuse what would make two streams one: OTLP tells them apart by name and attributes alone (pure)."""

from collections.abc import Iterable

from sidecar.accounts import OVERFLOW
from sidecar.describe.nearest import at_line
from sidecar.describe.spec import MetricSpec, SourceSpec
from sidecar.errors import ConfigError
from sidecar.schema import SOURCE_ATTRIBUTE


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
    met = {SOURCE_ATTRIBUTE: "", OVERFLOW[0]: ""}
    for name, at in attributes:
        if name in met:
            cause = f"it is said at {met[name]} too" if met[name] else "it is there already"
            raise ConfigError(
                at_line(at, f"attribute {name!r}"),
                "what is beyond the series limit has it" if name == OVERFLOW[0] else cause,
                "give one of them another name",
            )
        met[name] = at


def _refuse_same_stream(metrics: Iterable[MetricSpec]) -> None:
    first: dict[str, MetricSpec] = {}
    streams: dict[tuple[str, frozenset[object]], MetricSpec] = {}
    for metric in metrics:
        what = at_line(metric.at, f"metric {metric.name!r}")
        stream = (metric.name, frozenset((name, type(value), value) for name, value in metric.attributes))
        if stream in streams:
            raise ConfigError(
                what,
                f"the same name and attributes as at {streams[stream].at or streams[stream].field}",
                "give one of them another name, or attributes that differ",
            )
        streams[stream] = metric
        other = first.setdefault(metric.name, metric)
        for said in ("unit", "kind", "description"):
            if getattr(metric, said) != getattr(other, said):
                raise ConfigError(
                    what,
                    f"another {said} than at {other.at or other.field}, under one name",
                    f"give it the same {said}, or another name",
                )
