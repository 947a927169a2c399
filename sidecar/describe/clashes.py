# SPDX-License-Identifier: Apache-2.0
"""Find the attributes and metrics of a source that OTLP or Prometheus could not tell apart (pure)."""

from collections.abc import Iterable, Iterator

from sidecar.describe import prometheus_names
from sidecar.describe.elements import EVERY, index_of
from sidecar.describe.entry_error import entry_error
from sidecar.describe.spec import MetricSpec, SourceSpec
from sidecar.errors import SidecarError
from sidecar.schema import OVERFLOW, SOURCE_ATTRIBUTE


def clashes(spec: SourceSpec) -> Iterator[SidecarError]:
    """Yield an error for each attribute that a point has twice and each stream that two metrics write."""
    of_series = [(name, spec.at) for name, _ in spec.attributes]
    of_series += [(part.attribute, part.at) for part in spec.key or ()]
    of_series += [(part.attribute, part.at) for part in spec.labels or ()]
    of_series += [(spec.cpu, spec.at)] if spec.cpu else []
    yield from _same_label(of_series)
    for metric in spec.metrics or ():
        of_metric = [name for name, _ in metric.attributes] + [part.attribute for part in index_of(metric)]
        yield from _same_label(of_series + [(name, metric.at) for name in of_metric])
    yield from _same_stream(spec.metrics or ())


def _same_label(attributes: Iterable[tuple[str, str]]) -> Iterator[SidecarError]:
    reserved = {
        SOURCE_ATTRIBUTE: "reserved to distinguish sources",
        OVERFLOW[0]: "reserved for the series that aggregates the rest beyond the series limit",
    }
    seen = {prometheus_names.label(name): (name, cause) for name, cause in reserved.items()}
    for name, at in attributes:
        entry, label = f"attribute {name!r}", prometheus_names.label(name)
        if cause := prometheus_names.refused(name):
            yield entry_error(at, entry, cause, f"name it {prometheus_names.usable(name)!r}")
        elif label in seen:
            other, cause = seen[label]
            cause = cause if name == other else f"in Prometheus it is the same as {other!r}"
            yield entry_error(at, entry, cause, "give one of them another name")
        seen.setdefault(label, (name, f"also defined at {at}" if at else "defined twice"))


def _same_stream(metrics: Iterable[MetricSpec]) -> Iterator[SidecarError]:
    first: dict[str, MetricSpec] = {}
    streams: dict[tuple[str, frozenset[object]], MetricSpec] = {}
    for metric in metrics:
        entry = f"metric {metric.name!r}"
        in_prometheus = prometheus_names.metric(metric.name)
        others = [
            first.setdefault(name, metric) for name in prometheus_names.series(metric.name, metric.kind)
        ]
        other = next((other for other in others if other.name != metric.name), others[0])
        if metric.name != other.name:
            same = f"in Prometheus it is the same as {other.name!r}"
            if in_prometheus != prometheus_names.metric(other.name):
                same = f"in Prometheus a series of it has the name of one of {other.name!r}"
            yield entry_error(metric.at, entry, same, "give one of them another name")
            continue
        labels = [prometheus_names.label_pair(attribute) for attribute in metric.attributes]
        labels += [(prometheus_names.label(part.attribute), EVERY) for part in index_of(metric)]
        stream = in_prometheus, frozenset(labels)
        if stream in streams:
            yield entry_error(
                metric.at,
                entry,
                f"the same name and attributes as at {streams[stream].at or streams[stream].field}",
                "give one of them another name, or attributes that differ",
            )
            continue
        streams[stream] = metric
        for aspect in ("unit", "kind", "description", "buckets", "scale"):
            if getattr(metric, aspect) != getattr(other, aspect):
                yield entry_error(
                    metric.at,
                    entry,
                    f"another {aspect} than at {other.at or other.field}, under one name",
                    f"give it the same {aspect}, or another name",
                )
