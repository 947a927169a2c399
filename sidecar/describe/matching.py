# SPDX-License-Identifier: Apache-2.0
"""Choose a profile for a map about which the user says nothing (pure)."""

from collections.abc import Iterable, Sequence

from sidecar.describe.layout import shape_from
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import ProfileSpec
from sidecar.errors import ConfigError
from sidecar.kernel.syscall import MapInfo


def fitting(profiles: Iterable[ProfileSpec], info: MapInfo, shape: Shape | None) -> ProfileSpec | None:
    """
    Return the first profile that is made for a map, or None.

    The kind of map, its name and its entries must be what the profile's `match` says, its sizes those of the
    profile's layout, and its fields, if it has BTF, exactly those of the layout, at the same places. If its
    BTF may not be read its name must speak for it: bytes of the same size may mean anything.
    """
    return next((profile for profile in profiles if _fits(profile, info, shape)), None)


def _fits(profile: ProfileSpec, info: MapInfo, shape: Shape | None) -> bool:
    match, layout = profile.match, profile.layout
    if match is None or layout is None:
        return False
    if match.types and info.kind.name not in match.types:
        return False
    hidden = shape is None and info.btf_value_type_id != 0
    name = match.name_if_btf_is_hidden or match.name if hidden else match.name
    if name not in ("", info.name) or match.max_entries not in (0, info.max_entries):
        return False
    try:
        wanted = shape_from(
            layout, Part("key", 0, 32, Encoding.UNSIGNED, "__u32"), info.key_size, info.value_size
        )
    except ConfigError:
        return False  # other sizes
    return shape is None or _same(wanted.value, shape.value)


def _same(wanted: Sequence[Part], found: Sequence[Part]) -> bool:
    """Return whether two values have the same fields at the same places; a union's has several names."""
    return len(wanted) == len(found) and all(
        one.name in (other.name, *other.aliases)
        and (one.bit_offset, one.bits, one.encoding, one.big_endian)
        == (other.bit_offset, other.bits, other.encoding, other.big_endian)
        for one, other in zip(wanted, found, strict=True)
    )
