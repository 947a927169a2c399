# SPDX-License-Identifier: Apache-2.0
"""Encoding the same series again with new counts, compared with the generated protobuf classes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.keys import RESOURCE, made, schema, snapshot
from bench.measure import in_turns
from bench.table import Goal, Row, row
from sidecar.counts import delta
from sidecar.model import Series, Temporality
from sidecar.otlp.encode import encode
from sidecar.otlp.message import POINTS_PER_REQUEST, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION
from sidecar.schema import Schema

_ROUNDS = 9
_WINDOWS = 2
_GOAL = Goal("ratio", 20, at_most=False)

Requests = Callable[[Sequence[Series]], Sequence[bytes]]


def rows() -> Iterator[Row]:
    """Yield the time for many series, encoded in columns, and for the single series of the default map."""
    yield _row("encode 10,000 series again (in columns)", 10_000, 1, 1)
    yield _row("encode 1 series of 8 fields again (plain)", 1, 8, 500)


def _row(name: str, keys: int, words: int, repeat: int) -> Row:
    meaning = schema(words)
    windows = _windows(keys, words, meaning)
    ways: dict[str, Requests] = {
        "ours": lambda series: encode(RESOURCE, Temporality.DELTA, [(meaning, series)]),
        "classes": lambda series: _generated(series, meaning),
    }
    # Plain objects, so that the classes do not pay for converting columns.
    inputs: dict[str, Sequence[Sequence[Series]]] = {
        "ours": windows,
        "classes": [list(series) for series in windows],
    }
    for mine, theirs in zip(*inputs.values(), strict=True):
        if _parsed(ways["ours"](mine)) != _parsed(ways["classes"](theirs)):
            raise RuntimeError(f"{name}: the two encodings differ")
    functions = {way: _repeated(encoder, inputs[way], repeat) for way, encoder in ways.items()}
    taken = {way: samples.per(1e-3 * repeat) for way, samples in in_turns(functions, _ROUNDS).items()}
    return row(name, taken["ours"], "ms", "generated classes", taken["classes"], _GOAL, cheaper=True)


def _parsed(requests: Sequence[bytes]) -> list[ExportMetricsServiceRequest]:
    return [ExportMetricsServiceRequest.FromString(request) for request in requests]


def _repeated(encoder: Requests, windows: Sequence[Sequence[Series]], repeat: int) -> Callable[[], None]:
    """Return a function that encodes the windows in turn, so that only the series stay the same."""
    following = cycle(windows)

    def run() -> None:
        for _ in range(repeat):
            encoder(next(following))

    return run


def _windows(keys: int, words: int, meaning: Schema) -> list[Sequence[Series]]:
    """Return what the pipeline would encode in consecutive windows."""
    windows: list[Sequence[Series]] = []
    with made(keys, words) as held:
        baseline = delta.baseline_from_zero(snapshot(held.fd, held.info, meaning, 2))
        for number in range(_WINDOWS):
            held.count(keys)
            taken = snapshot(held.fd, held.info, meaning, 10**18 + number * 10**10)
            step = delta.advance(baseline, [taken], meaning, include_idle=False)
            windows.append(step.to_export)
            baseline = step.baseline
    return windows


def _generated(series: Sequence[Series], meaning: Schema) -> list[bytes]:
    """Return the same requests, built in the obvious way from the protocol's documentation."""
    most = POINTS_PER_REQUEST // len(meaning.instruments)
    return [_request(series[at : at + most], meaning) for at in range(0, len(series), most)]


def _request(series: Sequence[Series], meaning: Schema) -> bytes:
    metrics = []
    for at, instrument in enumerate(meaning.instruments):
        body = Sum(aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA, is_monotonic=True)
        body.data_points.extend(_point(entry, entry.counts[at]) for entry in series)
        metrics.append(
            Metric(name=instrument.name, unit=instrument.unit, description=instrument.description, sum=body)
        )
    scope = InstrumentationScope(name=SCOPE_NAME, version=SCOPE_VERSION)
    resource = Resource(attributes=[_attribute(key, str(value)) for key, value in RESOURCE])
    scopes = [ScopeMetrics(scope=scope, metrics=metrics)]
    whole = ResourceMetrics(resource=resource, scope_metrics=scopes, schema_url=SCHEMA_URL)
    return ExportMetricsServiceRequest(resource_metrics=[whole]).SerializeToString()


def _point(series: Series, count: int) -> NumberDataPoint:
    return NumberDataPoint(
        attributes=[_attribute(key, value) for key, value in series.attributes],
        start_time_unix_nano=series.start_ns,
        time_unix_nano=series.end_ns,
        as_int=count,
    )


def _attribute(key: str, value: str | int | bool) -> KeyValue:
    encoded = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=encoded)
