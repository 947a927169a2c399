# SPDX-License-Identifier: Apache-2.0
"""From `at`, `where` and `bucket` of a metric to the view of the map that it is about (pure)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sidecar.describe.decoders import number_of
from sidecar.describe.entry_error import entry_error
from sidecar.describe.histograms import is_bucket, slots_of
from sidecar.describe.instruments import find_part
from sidecar.describe.labels import build_label
from sidecar.describe.selection import MapKeys, all_of, build_select, numbers_of, spec_of
from sidecar.describe.shape import Part
from sidecar.describe.spec import KeySpec, MetricSpec, SourceSpec, view_name
from sidecar.errors import each
from sidecar.model import Field
from sidecar.schema import View


def build_views(
    source: SourceSpec, fields: Mapping[str, tuple[Field, ...]], keys: MapKeys
) -> tuple[View, ...]:
    """
    Return the views of a source's metrics; none if all of them are about every key.

    Args:
        source: The source.
        fields: The fields of each view, by its name.
        keys: The keys of the map.

    Raises:
        ConfigError: The key has no such part, the part no such value, or metrics differ in their buckets.

    """
    metrics = source.metrics or ()
    if not source.where and not any(map(view_name, metrics)):
        return ()

    def view(metric: MetricSpec) -> View:
        return replace(_view(metric, source, keys), fields=fields.get(view_name(metric)))

    views: dict[str, tuple[MetricSpec, View]] = {}
    for metric, found in zip(metrics, each(view, metrics), strict=True):
        first, other = views.setdefault(found.name, (metric, found))
        if (found.buckets, is_bucket(metric)) != (other.buckets, is_bucket(first)):
            cause = f"its buckets are those of {first.name!r}, but another number of them"
            raise entry_error(metric.at, f"metric {metric.name!r}", cause, "write the same `slots` and `sum`")
    return tuple(view for _, view in views.values())


def _view(metric: MetricSpec, source: SourceSpec, keys: MapKeys) -> View:
    """Return the view of a metric, with all fields of the layout."""
    of_key = f"the key of {keys.what}"
    key = source.key or ()
    wanted = [*((*one, source.at) for one in source.where), *((*one, metric.at) for one in metric.where)]
    if metric.row is not None:
        wanted.append((_row_part(metric, keys).name, (metric.row,), metric.at))
        key = _without(key, _row_part(metric, keys))
    bucket, buckets = None, 0
    if metric.bucket:
        part = find_part(keys.parts, metric.bucket, metric.at, of_key)
        _refuse_wide(part, metric.at)
        key = _without(key, part)
        bucket, buckets = _bucket(metric, part, keys)
    selects = [build_select(field, values, at, source.key or (), keys) for field, values, at in wanted]
    return View(
        view_name(metric),
        build_label(key, keys.parts, of_key, keys.name_of),
        selects=all_of(selects) if selects else None,
        bucket=bucket,
        buckets=buckets,
        row=_row(metric, source, keys),
    )


def _row(metric: MetricSpec, source: SourceSpec, keys: MapKeys) -> bytes | None:
    """Return the key of the row that a metric is about; None if the map is no array."""
    if metric.row is None or not keys.entries or metric.where or metric.bucket or source.where:
        return None
    numbers = numbers_of(metric.row, keys.parts[0], spec_of(keys.parts[0], source.key or ()))
    return min(numbers).to_bytes(4, sys.byteorder) if len(numbers) == 1 else None


def _row_part(metric: MetricSpec, keys: MapKeys) -> Part:
    if len(keys.parts) != 1:
        names = ", ".join(part.name for part in keys.parts)
        remedy = f"write `where: {{{keys.parts[0].name}: {metric.row}}}`" if keys.parts else "leave it out"
        raise entry_error(metric.at, "at", f"the key of {keys.what} has several parts ({names})", remedy)
    return keys.parts[0]


def _without(key: Sequence[KeySpec], part: Part) -> tuple[KeySpec, ...]:
    return tuple(spec for spec in key if spec.field not in (part.name, *part.aliases))


def _bucket(metric: MetricSpec, part: Part, keys: MapKeys) -> tuple[Callable[[bytes], int], int]:
    """Return the function from a key to its bucket, and how many there are, that of the sum included."""
    slots = slots_of(metric, keys.entries if len(keys.parts) == 1 else 0)
    number, last = number_of(part), slots - 1
    if not is_bucket(metric):
        return (lambda key: min(number(key), last) if number(key) >= 0 else 0), slots
    total = metric.sum

    def bucket(key: bytes) -> int:
        found = number(key)
        return slots if found == total else max(0, min(found, last))

    return bucket, slots + 1


def _refuse_wide(part: Part, at: str) -> None:
    if part.bits > 64:
        raise entry_error(at, f"field {part.name!r}", f"it is {part.type}, not a number", "name a number")
