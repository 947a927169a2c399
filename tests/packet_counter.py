# SPDX-License-Identifier: Apache-2.0
"""The packet-counter profile for tests: its schema, and readings of its map."""

from dataclasses import replace

from sidecar.describe.file.sources import profile
from sidecar.describe.resolve import resolve
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.kernel import uapi
from sidecar.kernel.syscall import MapInfo
from sidecar.model import Reading

INFO = MapInfo(
    id=41,
    type=uapi.MAP_PERCPU_ARRAY,
    name="stats_map",
    key_size=4,
    value_size=64,
    max_entries=1,
    btf_id=0,
    btf_key_type_id=0,
    btf_value_type_id=0,
)
SCHEMA = resolve(SourceSpec(MapRef("pin", "/sys/fs/bpf/stats_map"), profile("packet-counter")), INFO, None)
FIELDS = [field.name for field in SCHEMA.layout.fields]
SUMS = {
    instrument.field: instrument.name for instrument in SCHEMA.instruments if instrument.kind.is_monotonic
}
COLUMNS = SCHEMA.columns(1)


def schema(*attributes):
    """The schema with the given attributes."""
    return replace(SCHEMA, attributes=attributes)


def reading(counts, key=bytes(4)):
    """A reading of a map with one entry."""
    return Reading(COLUMNS, {key: tuple(counts)})
