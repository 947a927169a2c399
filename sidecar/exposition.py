# SPDX-License-Identifier: Apache-2.0
"""
Prometheus' text format 0.0.4 (pure).

Our own few lines, since prometheus_client makes a float of every counter, wants `_total` on its name, and
costs 2 MB; it is the oracle in the tests. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sidecar import prometheus_names
from sidecar.model import Attribute, Attributes, Series
from sidecar.otlp_encode import rate
from sidecar.percpu import signed
from sidecar.schema import Instrument, Kind, Measured, Schema
from sidecar.telemetry import Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES_OF_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_ESCAPES = {**_ESCAPES_OF_HELP, **str.maketrans({'"': r"\""})}


_IDENTITY = ("service.namespace", "service.name", "service.instance.id")
"""Who scrapes says job and instance himself."""


def exposition(families: Iterable[Family], measured: Measured, resource: Sequence[Attribute] = ()) -> str:
    """Return who speaks, its own metrics, and the maps', under the names that our Collector gives them."""
    return "".join(f"{line}\n" for line in (*_target(resource), *_own(families), *_maps(measured)))


def _target(resource: Sequence[Attribute]) -> Iterator[str]:
    labels = {
        key: value for key, value in resource if key not in _IDENTITY and not prometheus_names.refused(key)
    }
    if labels:
        yield from _metric("xdp_target_info", "gauge", "Target metadata", [(labels, 1)])


def _own(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        name = f"xdp_otel_{family.name}" + ("_total" if family.kind == "counter" else "")
        samples = (
            (dict(zip(family.labels, values, strict=True)), value) for values, value in family.samples.items()
        )
        yield from _metric(name, family.kind, family.help, samples)


def _maps(measured: Measured) -> Iterator[str]:
    found: dict[str, tuple[Instrument, list[tuple[Attributes, float]]]] = {}
    for schema, series in measured:
        for at, instrument in schema.positions(*Kind):
            samples = found.setdefault(f"xdp_{prometheus_names.metric(instrument.name)}", (instrument, []))[1]
            samples += [
                ((*one.attributes, *instrument.attributes), _value(schema, instrument, at, one))
                for one in series
            ]
    for name, (instrument, samples) in found.items():
        kind = "counter" if instrument.kind is Kind.COUNTER else "gauge"
        labelled = ((dict(attributes), value) for attributes, value in samples)
        yield from _metric(name, kind, instrument.description, labelled)


def _value(schema: Schema, instrument: Instrument, at: int, one: Series) -> float:
    if instrument.kind is Kind.RATE:
        return rate(one, at)
    if instrument.kind is Kind.GAUGE:
        return signed(one.values[at]) if schema.layout.fields[at].signed else one.values[at]
    return signed(one.totals[at]) if instrument.kind is Kind.UPDOWNCOUNTER else one.totals[at]


def _metric(
    name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str | int | bool], float]]
) -> Iterator[str]:
    yield f"# HELP {name} {text.translate(_ESCAPES_OF_HELP)}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{said}"' for key, said in _labels(labels).items())
        yield f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _labels(attributes: Mapping[str, str | int | bool]) -> dict[str, str]:
    return {
        prometheus_names.label(name): prometheus_names.value(said).translate(_ESCAPES)
        for name, said in attributes.items()
    }
