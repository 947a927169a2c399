# SPDX-License-Identifier: Apache-2.0
"""From the parts of a map's key to the attributes of its series (pure)."""

from collections.abc import Iterable, Sequence

from sidecar.describe.decoders import MERGING, Decode, NameOf, bind
from sidecar.describe.instruments import find
from sidecar.describe.shape import Part
from sidecar.describe.spec import KeySpec
from sidecar.errors import ConfigError
from sidecar.model import Attributes
from sidecar.schema import Label


def whole(parts: Iterable[Part]) -> list[Part]:
    """
    Return parts that tell any two keys apart.

    Of a union whose members differ nobody knows which one holds, so the widest stands for it.
    """
    chosen: list[Part] = []
    for part in sorted(parts, key=lambda one: (bool(one.refused), -one.bits)):
        if not part.refused or not any(_overlap(part, other) for other in chosen):
            chosen.append(part)
    return sorted(chosen, key=lambda one: one.bit_offset)


def _overlap(one: Part, other: Part) -> bool:
    return one.bit_offset < other.bit_offset + other.bits and other.bit_offset < one.bit_offset + one.bits


def label_of(said: Sequence[KeySpec], parts: Sequence[Part], what: str, name_of: NameOf) -> Label:
    """Return the function from a key's raw bytes to attributes; raise ConfigError if a part does not fit."""
    decoders: list[tuple[str, Decode]] = []
    for one in said:
        part = find(parts, one.field, one.at, f"the key of {what}")
        decoder = one.decoder or ("" if one.at else _unasked(part))
        try:
            decoders.append((one.attribute, bind(decoder, part, dict(one.table), name_of)))
        except ConfigError as error:
            raise (
                ConfigError(error.what, error.cause, error.remedy, at=one.at) if one.at else error
            ) from None

    def label(key: bytes) -> Attributes:
        return tuple((attribute, decode(key)) for attribute, decode in decoders)

    return label


def tells_apart(said: Sequence[KeySpec], parts: Sequence[Part]) -> bool:
    """Return whether all parts of a key are said, each by a decoder that says no two values alike."""
    whole_said = {one.field for one in said if one.decoder not in MERGING}
    return all(whole_said.intersection((part.name, *part.aliases)) for part in whole(parts))


def _unasked(part: Part) -> str:
    """Return `hex` for a member of a union: nobody knows which one holds, so its bytes are said."""
    return "hex" if part.refused and part.bits % 8 == 0 and part.bit_offset % 8 == 0 else ""
