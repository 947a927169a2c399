# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel dump`: the current contents of maps, decoded; nothing is stored or exported."""

import argparse
from collections.abc import Iterable, Iterator

from sidecar.commands import peek
from sidecar.commands.json_text import json_text
from sidecar.commands.table import bold, table
from sidecar.config import source_specs
from sidecar.errors import printable
from sidecar.model import Snapshot
from sidecar.observe.summary import shared_series
from sidecar.sources.source import Source


def dump(flags: argparse.Namespace) -> int:
    """Print one reading of each source; raise SidecarError if a source cannot be read."""
    with peek.opened(source_specs(flags)) as sources:
        readings = [(source, source.read()[-1]) for source in sources]
        if flags.json:
            _print_json(series for source, snapshot in readings for series in _objects(source, snapshot))
            return 0
        for at, (source, snapshot) in enumerate(readings):
            if at:
                print()
            for line in _lines(source, snapshot):
                print(line)
    return 0


def _objects(source: Source, snapshot: Snapshot) -> Iterator[dict[str, object]]:
    schema, info = source.schema, source.info
    bits = {number.name: part.bit for part in schema.parts for number in part.numbers}
    for row in peek.rows(schema, snapshot):
        yield {
            "source": source.name,
            "map": info.name,
            "map_id": info.id,
            "unix_ns": snapshot.taken_ns,
            "attributes": dict(row.attributes),
            "fields": {
                name: number
                for (name, bit), number in zip(bits.items(), row.numbers, strict=True)
                if bit & row.views
            },
        }


def _print_json(objects: Iterable[dict[str, object]]) -> None:
    """Print an array with one object per line, for `grep` as well as for `jq`."""
    print("[", end="")
    for at, series in enumerate(objects):
        print(",\n " if at else "", json_text(series), sep="", end="")
    print("]")


def _lines(source: Source, snapshot: Snapshot) -> Iterator[str]:
    rows = peek.rows(source.schema, snapshot)
    keys = len(snapshot.reading.cells)
    yield bold(
        printable(f"{source.name}: {peek.describe(source)}, ")
        + f"{keys:,} {'key' if keys == 1 else 'keys'}, {len(rows):,} series"
    )
    if shared := shared_series(source.schema, keys, len(rows)):
        yield shared
    names = peek.columns(rows)
    columns = peek.shown(source.schema)
    header = [*names, *(column.title for column in columns)]
    body = [
        [
            *peek.values(row, names),
            *(column.text(row.numbers) if column.bit & row.views else "" for column in columns),
        ]
        for row in rows
    ]
    if body:
        yield from table(header, body, numbers=range(len(names), len(header)))
