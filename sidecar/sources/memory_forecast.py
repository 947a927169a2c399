# SPDX-License-Identifier: Apache-2.0
"""How much memory the readings of a map may take, said before the first one (pure)."""

from sidecar.describe.defaults import title
from sidecar.kernel.syscall import MapInfo
from sidecar.schema import Schema

# Less is not worth a warning.
_MUCH_BYTES = 256 * 1024 * 1024
# While a map is read: the last reading, the new one, and the parts that it is made of. Measured: 3.4.
_READINGS = 3.5


def forecast(info: MapInfo, schema: Schema, cpus: int) -> str:
    """
    Return a warning if the readings of a map may take much memory; empty if not.

    Fields of less than 64 bits may wrap on each CPU, so a reading has one number for each of them and each
    possible CPU (docs/adr/0013-narrow-counters.md).
    """
    columns = schema.columns(cpus if info.kind.is_per_cpu and not schema.cpu else 1)
    narrow = [column for column in columns if column.cells > 1]
    size = int(_READINGS * 8 * info.max_entries * sum(column.cells for column in narrow))
    if size < _MUCH_BYTES:
        return ""
    fields = "1 field" if len(narrow) == 1 else f"{len(narrow)} fields"
    return (
        f"reading map {title(info)} may take {size / 2**20:,.0f} MiB of memory once it is full: {fields} of "
        f"less than 64 bits, which may wrap, for each of {info.max_entries:,} entries on each of {cpus} "
        "possible CPUs: count in 64 bits, make the map smaller, or name only the fields that you need under "
        "`metrics:`"
    )
