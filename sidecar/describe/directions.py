# SPDX-License-Identifier: Apache-2.0
"""From the direction that the user chose for an interface to its sources: one, or one for each (pure)."""

from collections.abc import Mapping
from dataclasses import replace

from sidecar.describe.spec import ProfileSpec, SourceSpec
from sidecar.kernel.interface import Direction

ATTRIBUTE = "network.io.direction"
"""OpenTelemetry semantic conventions, attribute registry, "Network attributes"."""

CHOICES: Mapping[str, tuple[Direction, ...]] = {
    "receive": ("receive",),
    "transmit": ("transmit",),
    "both": ("receive", "transmit"),
}
"""What a user may choose, the default first."""

DEFAULT = "receive"


def in_directions(spec: SourceSpec, choice: str) -> tuple[SourceSpec, ...]:
    """
    Return the sources of an interface for one of `CHOICES`; of a map, which has no direction, *spec* itself.

    Unless only received packets are counted, as they are by default, the points of each source carry the
    attribute, if the user did not set it.
    """
    if spec.map_ref.kind != "interface" or choice == DEFAULT:
        return (spec,)
    return tuple(_in_direction(spec, direction) for direction in CHOICES[choice])


def _in_direction(spec: SourceSpec, direction: Direction) -> SourceSpec:
    attributes = spec.attributes
    if ATTRIBUTE not in dict(attributes):
        attributes = ((ATTRIBUTE, direction), *attributes)
    return replace(
        spec,
        map_ref=replace(spec.map_ref, direction=direction),
        profile=spec.profile and _without_direction(spec.profile),
        attributes=attributes,
    )


def _without_direction(profile: ProfileSpec) -> ProfileSpec:
    """Return a profile that leaves the direction to the source; `semantic-conventions` has one."""
    metrics = tuple(
        replace(metric, attributes=tuple(pair for pair in metric.attributes if pair[0] != ATTRIBUTE))
        for metric in profile.metrics or ()
    )
    return replace(profile, metrics=metrics or None)
