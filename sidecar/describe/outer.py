# SPDX-License-Identifier: Apache-2.0
"""From the key of a map of maps to the attributes of the map under it (pure)."""

import socket

from sidecar.describe.defaults import title
from sidecar.describe.labels import build_label
from sidecar.describe.layout import shape_from
from sidecar.describe.shape import Encoding, Part, covering_parts
from sidecar.describe.spec import KeySpec, LayoutSpec, OuterSpec
from sidecar.kernel.syscall import MapInfo
from sidecar.schema import Label

ATTRIBUTE = "outer.key"
"""The attribute of an outer key that nothing describes."""

_NUMBERS = (1, 2, 4, 8)


def label_of(spec: OuterSpec | None, info: MapInfo) -> Label:
    """
    Return the function from an outer key to attributes.

    Args:
        spec: What the user wrote of the outer map.
        info: The kernel's description of it; libbpf gives it no BTF.

    Raises:
        ConfigError: The layout has another size, or the key no such part.

    """
    spec = spec or OuterSpec()
    parts: tuple[Part, ...] = (_opaque(info.key_size),)
    if spec.layout is not None:
        layout = LayoutSpec(spec.layout, spec.layout, at=spec.at)
        parts = shape_from(layout, parts[0], info.key_size, info.key_size).key
    key = spec.key
    if key is None:
        key = tuple(
            KeySpec(part.name, ATTRIBUTE if part.name == "key" else part.name)
            for part in covering_parts(parts)
        )
    return build_label(key, parts, f"map {title(info)}", socket.if_indextoname)


def _opaque(size: int) -> Part:
    if size in _NUMBERS:
        return Part("key", 0, 8 * size, Encoding.UNSIGNED, f"__u{8 * size}")
    return Part("key", 0, 8 * size, Encoding.BYTES, f"{size} bytes")
