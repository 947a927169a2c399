# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel dump`: what the maps hold now, decoded; nothing is written down or sent."""

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
    """Print one reading of each source; raise SidecarError if one cannot be read."""
    with peek.opened(source_specs(flags)) as sources:
        readings = [(source, source.read()[-1]) for source in sources]
        if flags.json:
            _print_json(one for source, snapshot in readings for one in _objects(source, snapshot))
            return 0
        for at, (source, snapshot) in enumerate(readings):
            if at:
                print()
            for line in _lines(source, snapshot):
                print(line)
    return 0


def _objects(source: Source, snapshot: Snapshot) -> Iterator[dict[str, object]]:
    schema, info = source.schema, source.info
    names = [field.name for field in schema.layout.fields]
    for row in peek.rows(schema, snapshot):
        yield {
            "source": source.name,
            "map": info.name,
            "map_id": info.id,
            "unix_ns": snapshot.taken_ns,
            "attributes": dict(row.attributes),
            "fields": dict(zip(names, row.numbers, strict=True)),
        }


def _print_json(objects: Iterable[dict[str, object]]) -> None:
    """Print an array with one object a line, as they come: `grep` can read it as well as `jq`."""
    print("[", end="")
    for at, one in enumerate(objects):
        print(",\n " if at else "", json_text(one), sep="", end="")
    print("]")


def _lines(source: Source, snapshot: Snapshot) -> Iterator[str]:
    found = peek.rows(source.schema, snapshot)
    yield bold(
        printable(f"{source.name}: {peek.describe(source)}, ")
        + f"{peek.many(len(snapshot.reading.cells), 'key', 'keys')}, {len(found):,} series"
    )
    if shared := shared_series(source.schema, len(snapshot.reading.cells), len(found)):
        yield shared
    names = peek.columns(found)
    fields = [field.name for field in source.schema.layout.fields]
    body = []
    for row in found:
        said = dict(row.attributes)
        body.append(
            [
                *(peek.text(said.get(name)) for name in names),
                *(f"{number:,}" for number in row.numbers),
            ]
        )
    if body:
        yield from table([*names, *fields], body, numbers=range(len(names), len(names) + len(fields)))
