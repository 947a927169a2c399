# SPDX-License-Identifier: Apache-2.0
"""From the parts of a map's key to the attributes of its series (pure)."""

from collections.abc import Sequence

from sidecar.describe.decoders import MERGING, Decode, NameOf, bind
from sidecar.describe.instruments import find_part
from sidecar.describe.shape import Part, distinguishing_parts
from sidecar.describe.spec import KeySpec
from sidecar.errors import each
from sidecar.model import Attributes
from sidecar.schema import Label


def build_label(key: Sequence[KeySpec], parts: Sequence[Part], what: str, name_of: NameOf) -> Label:
    """
    Return the function from a key's raw bytes to attributes.

    Args:
        key: The parts of the key that become attributes, in this order.
        parts: The parts that the key has.
        what: The map, for messages.
        name_of: Interface names by index, for the decoder `ifname`.

    Raises:
        ConfigError: The key has no such part, or its decoder cannot read it.

    """

    def decoder_of(spec: KeySpec) -> tuple[str, Decode]:
        part = find_part(parts, spec.field, spec.at, f"the key of {what}")
        decoder = spec.decoder or ("" if spec.at else _default_decoder(part))
        return spec.attribute, bind(decoder, part, dict(spec.table), name_of, at=spec.at)

    decoders = each(decoder_of, key)

    def label(raw: bytes) -> Attributes:
        return tuple((attribute, decode(raw)) for attribute, decode in decoders)

    return label


def keeps_keys_distinct(key: Sequence[KeySpec], parts: Sequence[Part]) -> bool:
    """Return whether every part of the key becomes an attribute, by a decoder that never merges values."""
    exact = {spec.field for spec in key if spec.decoder not in MERGING}
    return all(exact.intersection((part.name, *part.aliases)) for part in distinguishing_parts(parts))


def _default_decoder(part: Part) -> str:
    """Return `hex` for a member of a union, since which member is valid is unknown; else empty."""
    return "hex" if part.refused and part.bits % 8 == 0 and part.bit_offset % 8 == 0 else ""
