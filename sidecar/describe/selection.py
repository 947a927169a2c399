# SPDX-License-Identifier: Apache-2.0
"""From `at` and `where` to whether a key is one of those that a metric is about (pure)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.describe.decoders import NameOf, default_for, number_of
from sidecar.describe.entry_error import entry_error
from sidecar.describe.labels import bind_key, find_key_part
from sidecar.describe.shape import Part
from sidecar.describe.spec import KeySpec, Wanted
from sidecar.suggest import suggest

Select = Callable[[bytes], bool]
"""From a key's raw bytes to whether it is chosen."""

_NAMELESS = ("integer", "integer_be", "port")


@dataclass(frozen=True)
class MapKeys:
    """
    The keys of a map.

    Attributes:
        parts: Their parts.
        entries: How many keys an array has, from 0 on; 0 for any other map.
        what: The map, for messages.
        name_of: Interface names by index, for the decoder `ifname`.

    """

    parts: Sequence[Part]
    entries: int
    what: str
    name_of: NameOf


def build_select(field: str, wanted: Wanted, at: str, key: Sequence[KeySpec], keys: MapKeys) -> Select:
    """
    Return whether a part of a key has one of some values.

    Args:
        field: The part.
        wanted: Numbers, names of an enum or a table, or what its decoder makes of it.
        at: `file:line`.
        key: The parts that become attributes, with their decoders.
        keys: The keys of the map.

    Raises:
        ConfigError: The key has no such part, or the part no such value.

    """
    part = find_key_part(keys.parts, field, at, f"the key of {keys.what}")
    spec = spec_of(part, key) or KeySpec(part.name, "", at=at)
    decode = bind_key(spec, part, keys.name_of)
    texts = {str(value).lower() if isinstance(value, bool) else str(value) for value in wanted}
    numbers = _numbers(field, wanted, part, spec, at)
    if keys.entries and len(keys.parts) == 1 and max(numbers, default=0) >= keys.entries:
        cause = f"{keys.what} has the rows 0 to {keys.entries - 1}"
        raise entry_error(at, f"row {max(numbers)}", cause, "write one of these")
    if part.bits > 64:
        return lambda raw: str(decode(raw)) in texts
    number = number_of(part)

    def is_chosen(raw: bytes) -> bool:
        value = decode(raw)
        if isinstance(value, int) and not isinstance(value, bool):
            # What `dump` shows: a decoder may read the bytes in another order.
            return value in numbers
        text = str(value).lower() if isinstance(value, bool) else value
        return text in texts or number(raw) in numbers

    return is_chosen


def all_of(selects: Sequence[Select]) -> Select:
    """Return whether a key is chosen by all of them."""
    return selects[0] if len(selects) == 1 else lambda key: all(select(key) for select in selects)


def spec_of(part: Part, key: Sequence[KeySpec]) -> KeySpec | None:
    """Return what the user wrote about a part of the key; None if it is no attribute."""
    return next((spec for spec in key if spec.field in (part.name, *part.aliases)), None)


def numbers_of(value: str | int | bool, part: Part, spec: KeySpec | None) -> set[int]:
    """Return the numbers that a value means: itself, or those that have it as a name."""
    if isinstance(value, bool):
        return set()
    if isinstance(value, int) or re.fullmatch("-?[0-9]{1,20}", value):
        return {int(value)}
    names = (*part.names.items(), *(spec.table if spec else ()))
    return {number for number, name in names if name == value}


def _numbers(field: str, wanted: Wanted, part: Part, spec: KeySpec, at: str) -> set[int]:
    """Return the numbers that the wanted values mean; raise ConfigError for a name that is unknown."""
    known = [*part.names.values(), *(name for _, name in spec.table)]
    nameless = not known and (spec.decoder or default_for(part)) in _NAMELESS
    numbers: set[int] = set()
    for value in wanted:
        found = numbers_of(value, part, spec)
        if not found and nameless:
            raise entry_error(at, f"{field} {value!r}", "its values have no names", "write the number")
        if not found and known and not isinstance(value, bool):
            raise entry_error(at, f"{field} {value!r}", "it has no such name", suggest(str(value), known))
        numbers |= found
    return numbers
