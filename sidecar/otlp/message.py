# SPDX-License-Identifier: Apache-2.0
"""
What surrounds data points: the metric, the request, and the limits on its size (pure).

Message types: `metrics_service.proto` and `metrics.proto` of opentelemetry-proto.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Histogram,
    Metric,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar.attributes import varint
from sidecar.kinds import Kind
from sidecar.model import Attribute, Temporality
from sidecar.schema import Instrument

SCOPE_NAME, SCOPE_VERSION = "xdp-otel", "0.1.0"
"""
The version is that of the metrics, not of the sidecar, which is the resource's `service.version`: it helps to
identify a stream. Where it changes, the Collector's prometheus exporter has two series with the same labels,
and may serve the one that has ended for another day (tests/e2e/test_upgrade.py).
"""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""
The semantic conventions that the names of attributes follow, and those metrics that have a name there.

On the resource only, since that of a scope identifies a stream, as its version does.
"""

LARGEST_REQUEST_BYTES = 4 * 1024 * 1024 - 65_536
"""gRPC servers refuse messages of more than 4 MiB by default, after decompression."""

POINTS_PER_REQUEST = 16_000
"""About half of that with short attributes and base points; a request that is still too large is halved."""

ResourceAttributes = Sequence[Attribute]

Part = bytes | memoryview
"""A piece of a message; pieces are joined only once."""

_RESOURCE_METRICS, _SCOPE_METRICS, _METRIC = b"\x0a", b"\x12", b"\x12"
_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL = b"\x2a", b"\x3a", b"\x4a", b"\x52"


def encode_metrics(resource: ResourceAttributes, metrics: Iterable[Metric]) -> bytes:
    """Return metrics as one serialized ExportMetricsServiceRequest, by the generated classes."""
    scope, whole = _envelope(resource)
    scope.metrics.extend(metrics)
    whole.scope_metrics.append(scope)
    return ExportMetricsServiceRequest(resource_metrics=[whole]).SerializeToString(deterministic=True)


def request(resource: ResourceAttributes, metrics: list[Part]) -> bytes:
    """Return the same for metrics as `metric` returns them."""
    scope, head, tail = _encoded_envelope(tuple(resource))
    return b"".join(_framed(_RESOURCE_METRICS, [head, *_framed(_SCOPE_METRICS, [scope, *metrics]), tail]))


def metric(instrument: Instrument, temporality: Temporality, points: Part) -> list[Part]:
    """Return the metric of an instrument with these points, as parts of a request."""
    cumulative = temporality is Temporality.CUMULATIVE
    before, after = _around(*instrument.metric, instrument.description, cumulative, len(points))
    return [before, points, after]


def within_limit(encode: Callable[[int, int], bytes], first: int, last: int) -> Iterator[bytes]:
    """Yield one request of the items from *first* to before *last*, or several if it would be too large."""
    encoded = encode(first, last)
    if len(encoded) <= LARGEST_REQUEST_BYTES or last - first == 1:
        yield encoded
        return
    middle = first + (last - first) // 2
    yield from within_limit(encode, first, middle)
    yield from within_limit(encode, middle, last)


def key_values(attributes: Iterable[Attribute]) -> list[KeyValue]:
    """Return attributes as messages (`common.proto`, KeyValue)."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes]


def _any_value(value: str | int | bool) -> AnyValue:
    # A bool is an int in Python.
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def _envelope(resource: ResourceAttributes) -> tuple[ScopeMetrics, ResourceMetrics]:
    scope = ScopeMetrics(scope=InstrumentationScope(name=SCOPE_NAME, version=SCOPE_VERSION))
    return scope, ResourceMetrics(resource=Resource(attributes=key_values(resource)), schema_url=SCHEMA_URL)


@lru_cache(maxsize=1)
def _encoded_envelope(resource: tuple[Attribute, ...]) -> tuple[bytes, bytes, bytes]:
    """Return the scope, and what stands before and after it."""
    scope, whole = _envelope(resource)
    tail = ResourceMetrics(schema_url=whole.schema_url).SerializeToString()
    whole.schema_url = ""
    return scope.SerializeToString(), whole.SerializeToString(), tail


# Room for the instruments of a large map; each entry takes less than 1 kB.
@lru_cache(maxsize=256)
def _around(
    name: str, unit: str, kind: Kind, description: str, cumulative: bool, size: int
) -> tuple[bytes, bytes]:
    """Return what of a metric precedes and what follows its points, which take *size* bytes."""
    head, tail = _frame(name, unit, description, kind, cumulative)
    data = _data_tag(kind) + varint(size + len(tail))
    return _METRIC + varint(len(head) + len(data) + size + len(tail)) + head + data, tail


@lru_cache(maxsize=256)
def _frame(name: str, unit: str, description: str, kind: Kind, cumulative: bool) -> tuple[bytes, bytes]:
    """Return what precedes the data of a metric, and what follows the points in its data."""
    empty = Metric(name=name, unit=unit, description=description)
    head = empty.SerializeToString()
    if not kind.is_sum:
        return head, b""
    temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        if cumulative
        else AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    )
    if kind.is_histogram:
        # The field has the same number in the exponential one.
        return head, Histogram(aggregation_temporality=temporality).SerializeToString()
    empty.sum.is_monotonic = kind.is_monotonic
    empty.sum.aggregation_temporality = temporality
    return head, empty.sum.SerializeToString()


def _data_tag(kind: Kind) -> bytes:
    if kind.is_histogram:
        return _EXPONENTIAL if kind is Kind.EXPONENTIAL else _HISTOGRAM
    return _SUM if kind.is_sum else _GAUGE


def _framed(tag: bytes, parts: list[Part]) -> list[Part]:
    return [tag + varint(sum(map(len, parts))), *parts]
