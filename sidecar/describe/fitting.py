# SPDX-License-Identifier: Apache-2.0
"""Keep the metrics that still fit when a program was changed and its configuration was not (pure)."""

from dataclasses import replace

from sidecar.describe.instruments import build_instruments
from sidecar.describe.resolve import resolve
from sidecar.describe.shape import Shape
from sidecar.describe.spec import MetricSpec, SourceSpec
from sidecar.errors import SidecarError
from sidecar.kernel.syscall import MapInfo
from sidecar.schema import Schema


def resolve_fitting(
    spec: SourceSpec, info: MapInfo, shape: Shape | None, before: Schema, refusal: SidecarError
) -> Schema:
    """
    Return those metrics of a source whose fields a new map has by its BTF, under the same names and labels.

    Args:
        spec: The source; its layout, which BTF contradicts, is left aside.
        info: The kernel's description of the new map.
        shape: Its shape by BTF: without one, no field of it is certain.
        before: All the metrics that the source yielded before.
        refusal: Why the new map does not yield them; raised again if nothing fits, or the labels differ.

    """
    if shape is None:
        raise refusal
    wanted = spec.with_profile(spec.profile)
    metrics = wanted.metrics or [
        MetricSpec(each.name, each.field, each.unit, each.description, each.kind, each.attributes)
        for each in before.instruments
    ]
    fitting = tuple(metric for metric in metrics if _fits(metric, wanted, info, shape))
    try:
        schema = resolve(replace(wanted, profile=None, layout=None, metrics=fitting), info, shape)
    except SidecarError:
        raise refusal from None
    if not fitting or schema.labels != before.labels:
        raise refusal
    unfit = f"{refusal}; of {len(metrics)} metrics the {len(fitting)} that still fit are sent"
    return replace(schema, name=before.name, unfit=unfit)


def _fits(metric: MetricSpec, spec: SourceSpec, info: MapInfo, shape: Shape) -> bool:
    try:
        summed, entries = info.kind.is_per_cpu and not spec.cpu, info.max_entries if info.kind.is_array else 0
        build_instruments((metric,), shape.value, "", summed=summed, entries=entries)
    except SidecarError:
        return False
    return True
