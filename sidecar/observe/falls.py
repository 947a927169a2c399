# SPDX-License-Identifier: Apache-2.0
"""Log lines about counters that decreased."""

import logging
import time
from collections.abc import Callable, Sequence

from sidecar.counts.window import NextWindow
from sidecar.describe.file.yaml_text import scalar
from sidecar.log_fields import about
from sidecar.model import Fall
from sidecar.observe.ongoing import Ongoing
from sidecar.schema import Schema

log = logging.getLogger(__name__)

_MAX_KEYS_SHOWN = 5


class Falls:
    """Logs which entries were emptied, and once for each field that fell alone that it is no counter."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing reported; *now* is monotonic, seconds."""
        self._reported: set[tuple[str, str]] = set()
        self._resets = Ongoing(now)

    def log(self, source: str, schema: Schema, step: NextWindow) -> None:
        """Log what decreased in one source's share of a batch."""
        widths = {field.name: field.bits for field in schema.layout.fields} if step.falls else {}
        for fall in step.falls:
            # The last reading of a replaced map may have fields that are no longer read.
            if fall.field in widths and self._is_new(source, fall.field):
                alone = _alone(fall, widths[fall.field])
                log.warning("%s: %s", alone, _remedy(schema, fall.field), extra=about(source))
        if step.emptied:
            # Some programs zero their map again and again: not a line for each time.
            text = f"{_emptied(step.emptied)}{self._advice(source, schema)}"
            self._resets.holds(source, text, reason="reset", source=source)
        else:
            self._resets.ended(source)

    def _is_new(self, source: str, field: str) -> bool:
        known = (source, field) in self._reported
        self._reported.add((source, field))
        return not known

    def _advice(self, source: str, schema: Schema) -> str:
        """Return, once, what to do if the only counter is not one: no other confirms that it was emptied."""
        counters = [column.field for column in schema.columns(1) if column.monotonic]
        if len(counters) != 1 or not self._is_new(source, counters[0]):
            return ""
        return f"; if {counters[0]} is not a counter, {_remedy(schema, counters[0])}"


def _emptied(keys: Sequence[bytes]) -> str:
    shown = ", ".join(f"0x{key.hex()}" for key in keys[:_MAX_KEYS_SHOWN])
    more = f" and {len(keys) - _MAX_KEYS_SHOWN:,} more" if len(keys) > _MAX_KEYS_SHOWN else ""
    what, was = ("entry", "was") if len(keys) == 1 else ("entries", "were")
    return f"{what} {shown}{more} {was} reset: another process wrote to the map"


def _alone(fall: Fall, bits: int) -> str:
    fell = f"{fall.field} fell from {fall.before} to {fall.now} (key 0x{fall.key.hex()})"
    # A narrow counter may have wrapped more than halfway, which looks the same.
    grew = "" if bits == 64 else f", or grows by half the range of its {bits} bits between two readings"
    return f"{fell} while other fields did not: it is not a counter{grew}; the fall is not counted"


def _remedy(schema: Schema, field: str) -> str:
    instrument = next(each for each in schema.instruments if field in each.fields)
    if instrument.histogram:
        return f"check that it counts a bucket of {instrument.name}"
    name = instrument.name
    return f"write {{name: {scalar(name)}, field: {scalar(field)}, kind: gauge}} under metrics:"
