# SPDX-License-Identifier: Apache-2.0
"""
The names that the Collector's Prometheus exporter makes of OpenTelemetry's (pure).

Names that differ in OTLP may be the same in Prometheus. The exporter then serves one of the two metrics or
labels, or neither, and only its own log says so: `clashes` refuses such names before anything starts.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from sidecar.kinds import Kind
from sidecar.model import Attribute

# Prometheus tells the buckets of a histogram, and the quantiles of a summary, apart by these.
_OF_BUCKETS = frozenset(("le", "quantile"))
# The exporter derives these from the resource (service.name, service.instance.id).
_FROM_RESOURCE = frozenset(("instance", "job"))


def metric(name: str) -> str:
    """Return the exporter's name of a metric, without its namespace."""
    return "_".join(filter(None, re.split(r"[^A-Za-z0-9_:]+", name)))


def series(name: str, kind: Kind) -> tuple[str, ...]:
    """Return the names of the series of a metric: a histogram has several."""
    exported = metric(name)
    suffixes = ("", "_bucket", "_count", "_sum") if kind.is_histogram else ("",)
    return tuple(exported + suffix for suffix in suffixes)


@lru_cache(maxsize=1024)
def label(attribute: str) -> str:
    """Return the label name of an attribute."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", attribute)
    return f"key_{plain}" if plain[:1].isdigit() else plain


def value(attribute_value: str | int | bool) -> str:
    """Return the label value of an attribute's value."""
    return str(attribute_value).lower() if isinstance(attribute_value, bool) else str(attribute_value)


def label_pair(attribute: Attribute) -> tuple[str, str]:
    """Return an attribute as a label: its name and its value."""
    name, attribute_value = attribute
    return label(name), value(attribute_value)


def refused(attribute: str) -> str:
    """Return why no series can have an attribute of this name; empty if it can."""
    name = label(attribute)
    if name in _FROM_RESOURCE:
        return f"Prometheus sets {name!r} itself, from the resource"
    if name in _OF_BUCKETS:
        return f"Prometheus tells the parts of a histogram apart by the label {name!r}"
    if name.startswith("__") or not name.strip("_"):
        return f"Prometheus reserves the label {name!r}"
    return ""


def usable(attribute: str) -> str:
    """Return the name of the attribute, prefixed if it would be refused."""
    return f"key.{attribute}" if refused(attribute) else attribute


def make_distinct(
    names: Iterable[str], in_prometheus: Callable[[str], str], taken: Iterable[str] = ()
) -> Iterator[str]:
    """
    Yield the names, numbered where Prometheus would merge one with an earlier one.

    Args:
        names: OpenTelemetry names.
        in_prometheus: `metric` or `label`.
        taken: Names that come before all of these.

    """
    seen = {in_prometheus(name) for name in taken}
    for name in names:
        chosen, number = name, 1
        while in_prometheus(chosen) in seen:
            number += 1
            chosen = f"{name}_{number}"
        seen.add(in_prometheus(chosen))
        yield chosen
