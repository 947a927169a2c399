# SPDX-License-Identifier: Apache-2.0
"""
Prometheus' text format 0.0.4 (pure).

Written here since prometheus_client turns every counter into a float, requires `_total` in its name, and
takes 2 MB; it is the oracle in the tests. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections.abc import Iterable, Iterator, Sequence

from sidecar.describe import prometheus_names
from sidecar.model import Attribute
from sidecar.observe.labels import braced, labels
from sidecar.observe.samples import SourceSamples
from sidecar.observe.series_labels import Room
from sidecar.observe.telemetry import Family
from sidecar.schema import Instrument, SourceSeries

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES_OF_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})

_IDENTITY = ("service.namespace", "service.name", "service.instance.id")
"""The scraper sets `job` and `instance`, which these would become."""


class Exposition:
    """Renders pages, also several at the same time."""

    def __init__(self, resource: Sequence[Attribute] = ()) -> None:
        """*resource* becomes `xdp_target_info`."""
        self._resource = resource
        self._room = Room()

    def page(self, families: Iterable[Family], sources: SourceSeries) -> Iterator[bytes]:
        """
        Yield the resource, the sidecar's own metrics and those of the maps, by the Collector's names.

        Each piece is rendered when the caller asks for it, so a large page is never in memory as a whole.
        """
        yield _text(*_target(self._resource), *_own(families))
        samples = [SourceSamples(schema, series, self._room) for schema, series in sources]
        metrics: dict[str, list[tuple[int, Instrument, SourceSamples]]] = {}
        for (schema, _), source in zip(sources, samples, strict=True):
            for at, instrument in schema.positions:
                name = f"xdp_{prometheus_names.metric(instrument.name)}"
                metrics.setdefault(name, []).append((at, instrument, source))
        try:
            for name, parts in metrics.items():
                first = parts[0][1]
                yield _text(*_header(name, first.kind.prometheus_type, first.description))
                for at, instrument, source in parts:
                    yield from source.pieces(name.encode(), at, instrument)
        finally:
            for source in samples:
                source.release()


def exposition(families: Iterable[Family], sources: SourceSeries, resource: Sequence[Attribute] = ()) -> str:
    """Return a whole page."""
    return b"".join(Exposition(resource).page(families, sources)).decode()


def _target(resource: Sequence[Attribute]) -> Iterator[str]:
    shown = [
        (key, value) for key, value in resource if key not in _IDENTITY and not prometheus_names.refused(key)
    ]
    if shown:
        yield from _header("xdp_target_info", "gauge", "Target metadata")
        yield f"xdp_target_info{_braced(shown)}1"


def _own(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        name = f"xdp_{prometheus_names.metric(family.metric.name)}"
        yield from _header(name, family.metric.kind, family.metric.help)
        for values, value in family.samples.items():
            yield f"{name}{_braced(zip(family.metric.labels, values, strict=True))}{value}"


def _header(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text.translate(_ESCAPES_OF_HELP)}"
    yield f"# TYPE {name} {kind}"


def _braced(attributes: Iterable[Attribute]) -> str:
    return braced(labels(attributes)).decode()


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")
