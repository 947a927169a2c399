# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel dump`: what the maps hold now, decoded; nothing is written down or sent."""

import argparse
import json
from collections.abc import Iterator, Sequence

from sidecar import peek
from sidecar.config import source_specs
from sidecar.model import Snapshot
from sidecar.source import Source
from sidecar.table import bold, printable, table


def dump(flags: argparse.Namespace) -> int:
    """Print one reading of each source; raise SidecarError if one cannot be read."""
    objects: list[dict[str, object]] = []
    with peek.opened(source_specs(flags)) as sources:
        for source in sources:
            snapshot = source.read()[-1]
            if flags.json:
                objects += _objects(source, snapshot)
                continue
            if source is not sources[0]:
                print()
            for line in _lines(source, snapshot):
                print(line)
    if flags.json:
        _print_json(objects)
    return 0


def _objects(source: Source, snapshot: Snapshot) -> Iterator[dict[str, object]]:
    names = [field.name for field in source.schema.layout.fields]
    for row in peek.rows(source.schema, snapshot):
        yield {
            "source": source.name,
            "map": source.info.name,
            "map_id": source.info.id,
            "unix_ns": snapshot.taken_ns,
            "attributes": dict(row.attributes),
            "fields": dict(zip(names, row.numbers, strict=True)),
        }


def _print_json(objects: Sequence[dict[str, object]]) -> None:
    """Print an array with one object a line: `grep` can read it as well as `jq`."""
    print("[" + ",\n ".join(json.dumps(one, ensure_ascii=False) for one in objects) + "]")


def _lines(source: Source, snapshot: Snapshot) -> Iterator[str]:
    found = peek.rows(source.schema, snapshot)
    yield bold(
        printable(f"{source.name}: {peek.describe(source)}, ")
        + f"{peek.many(len(snapshot.reading.cells), 'key', 'keys')}, {len(found):,} series"
    )
    names = peek.columns(found)
    fields = [field.name for field in source.schema.layout.fields]
    body = []
    for row in found:
        said = dict(row.attributes)
        body.append(
            [
                *(printable(peek.text(said.get(name))) for name in names),
                *(f"{number:,}" for number in row.numbers),
            ]
        )
    if body:
        yield from table([*names, *fields], body, numbers=range(len(names), len(names) + len(fields)))
