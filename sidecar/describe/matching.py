# SPDX-License-Identifier: Apache-2.0
"""Choose a built-in profile for a map that the user does not describe (pure)."""

from collections.abc import Iterable, Sequence

from sidecar.describe.layout import shape_from
from sidecar.describe.shape import ARRAY_INDEX, Part, Shape
from sidecar.describe.spec import ProfileSpec
from sidecar.errors import ConfigError
from sidecar.kernel.syscall import MapInfo


def matching_profile(
    profiles: Iterable[ProfileSpec], info: MapInfo, shape: Shape | None
) -> ProfileSpec | None:
    """
    Return the first profile that matches a map, or None.

    A profile matches if its `match` accepts the map's type, name and entries, its layout has the map's sizes,
    and, where BTF can be read, exactly the same fields at the same offsets. If the map's BTF cannot be read,
    its name must match too: bytes of the same size may mean anything.
    """
    return next((profile for profile in profiles if _matches(profile, info, shape)), None)


def _matches(profile: ProfileSpec, info: MapInfo, shape: Shape | None) -> bool:
    match, layout = profile.match, profile.layout
    if match is None or layout is None:
        return False
    if match.types and info.kind.name not in match.types:
        return False
    is_hidden = shape is None and info.btf_value_type_id != 0
    name = match.name_if_btf_is_hidden or match.name if is_hidden else match.name
    if name not in ("", info.name) or match.max_entries not in (0, info.max_entries):
        return False
    try:
        described = shape_from(layout, ARRAY_INDEX, info.key_size, info.value_size)
    except ConfigError:
        return False  # other sizes
    return shape is None or _has_same_fields(described.value, shape.value)


def _has_same_fields(described: Sequence[Part], by_btf: Sequence[Part]) -> bool:
    """Return whether two values have the same fields at the same offsets, aliases by BTF included."""
    return len(described) == len(by_btf) and all(
        field.name in (other.name, *other.aliases)
        and (field.bit_offset, field.bits, field.encoding, field.big_endian)
        == (other.bit_offset, other.bits, other.encoding, other.big_endian)
        for field, other in zip(described, by_btf, strict=True)
    )
