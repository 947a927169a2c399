# SPDX-License-Identifier: Apache-2.0
"""The samples of a page, one series and one line at a time: what `sidecar.observe.samples` must equal."""

import math
from itertools import accumulate

from sidecar.describe import prometheus_names

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def page(sources):
    """Return the part of the page that is about the maps."""
    metrics = {}
    for schema, series in sources:
        for at, instrument in schema.positions:
            name = f"xdp_{prometheus_names.metric(instrument.name)}"
            metrics.setdefault(name, []).append((at, instrument, schema, series))
    text = ""
    for name, parts in metrics.items():
        first = parts[0][1]
        help_text = first.description.replace("\\", r"\\").replace("\n", r"\n")
        text += f"# HELP {name} {help_text}\n# TYPE {name} {first.kind.prometheus_type}\n"
        for at, instrument, schema, series in parts:
            for each in series:
                if schema.applies(instrument, each.views):
                    text += "".join(lines(name, at, instrument, schema, each))
    return text


def lines(name, at, instrument, schema, series):
    """Yield the lines of one series."""
    labels = {
        prometheus_names.label(key): f'{prometheus_names.label(key)}="{escaped(value)}"'
        for key, value in dict((*series.attributes, *instrument.attributes)).items()
    }.values()
    histogram = instrument.histogram
    if histogram is None:
        value = instrument.kind.value(series, at, schema.numbers[at])
        yield f"{name}{braced(labels)}{instrument.scaled(value)}\n"
        return
    places = schema.places(instrument)
    counts = [*accumulate(places.buckets(series.totals))]
    for bound, count in zip((*histogram.bounds, math.inf), counts, strict=True):
        yield f"{name}_bucket{braced([*labels, upper(bound)])}{count}\n"
    if places.sums:
        yield f"{name}_sum{braced(labels)}{histogram.scale(places.total(series.totals))}\n"
    yield f"{name}_count{braced(labels)}{counts[-1]}\n"


def escaped(value):
    """Return a label's value."""
    return prometheus_names.value(value).translate(ESCAPES)


def braced(labels):
    """Return what stands between name and value."""
    inside = ",".join(labels)
    return f"{{{inside}}} " if inside else " "


def upper(bound):
    """Return the label of a bucket."""
    if bound == math.inf:
        return 'le="+Inf"'
    return f'le="{int(bound) if bound.is_integer() and abs(bound) < 1e21 else repr(bound)}"'
