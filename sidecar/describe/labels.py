# SPDX-License-Identifier: Apache-2.0
"""From the parts of a map's key to the attributes of its series (pure)."""

import re
from collections.abc import Sequence
from itertools import chain

from sidecar.describe.decoders import MERGING, Decode, NameOf, bind, form_of
from sidecar.describe.instruments import find_part
from sidecar.describe.shape import Part, distinguishing_parts, enclosing, joined_part
from sidecar.describe.spec import KeySpec
from sidecar.errors import each
from sidecar.schema import Label, LabelPart, PartsLabel, ValueLabel


def build_label(key: Sequence[KeySpec], parts: Sequence[Part], what: str, name_of: NameOf) -> Label:
    """
    Return the function from the raw bytes of a key, or of a value, to attributes.

    Args:
        key: The parts that become attributes, in this order.
        parts: The parts that the key, or the value, has.
        what: What has these parts, for messages: `the key of map flows`.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        ConfigError: The key has no such part, or its decoder cannot read it.

    """

    def label_part(spec: KeySpec) -> LabelPart:
        part = find_key_part(parts, spec.field, spec.at, what)
        decode = bind_key(spec, part, name_of)
        if part.in_prefix:
            return LabelPart(spec.attribute, decode)
        form = "" if spec.regexp else form_of(_decoder(spec, part), part)
        return LabelPart(spec.attribute, decode, *_bytes_of(part), form)

    return PartsLabel(tuple(each(label_part, key)))


def build_value_label(
    labels: Sequence[KeySpec], parts: Sequence[Part], size: int, what: str, name_of: NameOf
) -> ValueLabel:
    """Return the attributes that come from a value of *size* bytes; otherwise as `build_label`."""
    label = build_label(labels, parts, what, name_of)
    read = [find_key_part(parts, spec.field, spec.at, what) for spec in labels]
    offsets = {offset for part in read for offset in range(*_bytes_of(part))}
    return ValueLabel(label, size, tuple(sorted(offsets)))


def _bytes_of(part: Part) -> tuple[int, int]:
    """Return the first byte that a part has bits of, and the one after the last."""
    return part.bit_offset // 8, -(-(part.bit_offset + part.bits) // 8)


def find_key_part(parts: Sequence[Part], name: str, at: str, what: str) -> Part:
    """Return the part of this name, or the bytes of such an array or struct; raise ConfigError."""
    return joined_part(parts, name) or find_part(parts, name, at, what)


def bind_key(spec: KeySpec, part: Part, name_of: NameOf) -> Decode:
    """Return the function that decodes a part of a key as *spec* says; raise ConfigError if it cannot."""
    decode = bind(_decoder(spec, part), part, dict(spec.table), name_of, at=spec.at)
    if not spec.regexp:
        return decode
    pattern, replacement = re.compile(spec.regexp[0]), spec.regexp[1]
    return lambda raw: pattern.sub(replacement, str(decode(raw)))


def keeps_keys_distinct(key: Sequence[KeySpec], parts: Sequence[Part]) -> bool:
    """Return whether every part of the key becomes an attribute, by a decoder that never merges values."""
    exact = {spec.field for spec in key if spec.decoder not in MERGING and not spec.regexp}
    return all(
        exact.intersection(chain.from_iterable(map(enclosing, (part.name, *part.aliases))))
        for part in distinguishing_parts(parts)
    )


def _decoder(spec: KeySpec, part: Part) -> str:
    return spec.decoder or ("" if spec.at else _default_decoder(part))


def _default_decoder(part: Part) -> str:
    """Return `hex` for a member of a union, since which member is valid is unknown; else empty."""
    return "hex" if part.refused and part.bits % 8 == 0 and part.bit_offset % 8 == 0 else ""
