# SPDX-License-Identifier: Apache-2.0
"""The man page xdp-otel.yaml(5), generated from the schema of the configuration file."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from demo.processes import ROOT
from release import roff
from sidecar import __version__

NAME = "xdp-otel.yaml"
EXAMPLE = """\
sources:
  - interface: eth0
    attributes: {site: north}
  - pin: /sys/fs/bpf/flows
    key:
      - {field: port, attribute: server.port}
    metrics:
      - {name: flow.packets, field: packets, unit: "{packet}"}
"""
_DOCUMENT = "/usr/share/doc/xdp-otel/docs/configuration.md"

Schema = dict[str, Any]


def page(when: datetime) -> str:
    """Return the page, dated *when*."""
    schema = json.loads((ROOT / "sidecar/config.schema.json").read_text(encoding="utf-8"))
    return "\n".join(_lines(schema["definitions"], when)) + "\n"


def _lines(definitions: dict[str, Schema], when: datetime) -> Iterator[str]:
    title = f'"{roff.date(when)}" "xdp\\-otel {__version__}" "File Formats"'
    yield f'.TH {roff.escaped(NAME.upper())} "5" {title}'
    yield from (
        ".SH NAME",
        f"{roff.escaped(NAME)} \\- which maps xdp\\-otel reads, and which metrics they yield",
    )
    yield ".SH DESCRIPTION"
    yield "A file in YAML, with any name, for the flag"
    yield from (".B \\-\\-config", "of", ".BR xdp\\-otel\\-run (1)", "and other commands. It has one key,")
    yield from (".BR sources ,", "a list. What is not known is refused.")
    yield from (".SH EXAMPLE", roff.verbatim(EXAMPLE))
    yield from (".SH A SOURCE", *_keys(definitions["source"], definitions))
    for name in ("layout", "key", "metrics"):
        yield from (f".SH {name.upper()}", roff.escaped(definitions[name]["description"]))
        yield from _keys(definitions[name], definitions)
    yield from (".SH SEE ALSO", ".BR xdp\\-otel (1),", f".I {roff.escaped(_DOCUMENT)}")


def _keys(schema: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    """Describe the keys of an object, or of the objects of a list."""
    for name, key in schema.get("items", schema).get("properties", {}).items():
        described = key | definitions.get(key.get("$ref", "").removeprefix("#/definitions/"), {})
        if text := described.get("description"):
            values = f" One of: {', '.join(described['enum'])}." if "enum" in described else ""
            yield from (".TP", f".B {roff.escaped(name)}", roff.escaped(text + values))
            if "$ref" not in key and "items" not in key and "properties" in key:
                yield from (".RS", *_keys(key, definitions), ".RE")
