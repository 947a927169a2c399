# SPDX-License-Identifier: Apache-2.0
"""What the log says of counters that went back."""

import logging
from collections.abc import Sequence

from sidecar.counts.window import NextWindow
from sidecar.describe.file.yaml_text import scalar
from sidecar.model import Fall
from sidecar.schema import Schema

log = logging.getLogger(__name__)

# Keys in a line of the log.
_MOST_SHOWN = 5


class Falls:
    """Says which entries were emptied; and of each field that fell alone, once, that it is no counter."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: set[tuple[str, str]] = set()

    def log(self, source: str, schema: Schema, step: NextWindow) -> None:
        """Say what went back in one source's share of a batch."""
        widths = {field.name: field.bits for field in schema.layout.fields}
        for fall in step.falls:
            # A map that is read a last time may have fields that are not read any more.
            if fall.field in widths and self._is_new(source, fall.field):
                log.warning(
                    "%s: %s: %s", source, _alone(fall, widths[fall.field]), _remedy(schema, fall.field)
                )
        if step.emptied:
            log.warning("%s: %s%s", source, _emptied(step.emptied), self._advice(source, schema))

    def _is_new(self, source: str, field: str) -> bool:
        known = (source, field) in self._said
        self._said.add((source, field))
        return not known

    def _advice(self, source: str, schema: Schema) -> str:
        """Return, once, what to do if the only counter is none: no other one says that it was emptied."""
        counters = [column.field for column in schema.columns(1) if column.monotonic]
        if len(counters) != 1 or not self._is_new(source, counters[0]):
            return ""
        return f"; or {counters[0]} is no counter: then {_remedy(schema, counters[0])}"


def _emptied(keys: Sequence[bytes]) -> str:
    shown = ", ".join(f"0x{key.hex()}" for key in keys[:_MOST_SHOWN])
    more = f" and {len(keys) - _MOST_SHOWN:,} more" if len(keys) > _MOST_SHOWN else ""
    what = "entry" if len(keys) == 1 else "entries"
    return f"{what} {shown}{more} went back: somebody emptied the map"


def _alone(fall: Fall, bits: int) -> str:
    fell = f"{fall.field} fell from {fall.before} to {fall.now} (key 0x{fall.key.hex()})"
    # Beyond that the two cannot be told apart.
    grew = "" if bits == 64 else f", or grows by half the range of its {bits} bits between two readings"
    return f"{fell} while other fields did not: it is no counter{grew}; its fall is not counted"


def _remedy(schema: Schema, field: str) -> str:
    name = next(one.name for one in schema.instruments if one.field == field)
    return f"write {{name: {scalar(name)}, field: {scalar(field)}, kind: gauge}} under metrics:"
