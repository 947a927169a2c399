# SPDX-License-Identifier: Apache-2.0
"""
The tables of values in the chart's README, from the comments of values.yaml and the types of its schema.

As with helm-docs, `# --` above a key begins its description. `make goldens` writes them.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from demo.processes import ROOT

README = ROOT / "helm/README.md"
VALUES = ROOT / "helm/values.yaml"
SCHEMA = ROOT / "helm/values.schema.json"
_BEGIN, _END = "<!-- values: `make goldens` -->\n", "<!-- end of values -->\n"
# A default longer than this is left to values.yaml.
_SHOWN = 60


class Value(NamedTuple):
    """One key: its path, JSON of the default or "" for an object with rows of its own, and its comment."""

    path: tuple[str, ...]
    default: str
    comment: str


def written(readme: str, values: str, schema: dict[str, Any]) -> str:
    """Return the README with the tables of these values."""
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_tables(values, schema)}\n{_END}{after}"


def _tables(values: str, schema: dict[str, Any]) -> str:
    sections: dict[str, list[Value]] = {"": []}
    for value in _values(values):
        of_no_section = len(value.path) == 1 and value.default
        sections.setdefault("" if of_no_section else value.path[0], []).append(value)
    return "\n".join(_section(name, rows, schema) for name, rows in sections.items())


def _section(name: str, rows: list[Value], schema: dict[str, Any]) -> str:
    lines = [f"### {name or 'Values for all objects'}", ""]
    if name and (said := _described(rows[0].comment) or _plain(rows[0].comment)):
        lines += [said, ""]
    lines += ["| value | type | default | |", "|---|---|---|---|"]
    for row in rows[1:] if name else rows:
        cells = (
            _code(".".join(row.path)),
            _type(row.path, schema),
            _default(row.default),
            _described(row.comment),
        )
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join((*lines, ""))


def _values(text: str) -> Iterator[Value]:
    lines = text.splitlines()

    def below(node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator[Value]:
        for key, inner in node.value:
            here = (*path, key.value)
            comment = _comment(lines, key.start_mark.line)
            opened = isinstance(inner, yaml.MappingNode) and not inner.flow_style
            if not opened:
                yield Value(here, json.dumps(yaml.safe_load(yaml.serialize(inner))), comment)
                continue
            if comment or not path:
                yield Value(here, "", comment)
            yield from below(inner, here)

    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from below(root, ())


def _comment(lines: list[str], line: int) -> str:
    """Return the lines of comment directly above *line*, without their #."""
    above = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        above.append(lines[line].strip().removeprefix("#").strip())
    return "\n".join(reversed(above))


def _described(comment: str) -> str:
    # eth* is no emphasis, except in code.
    parts = " ".join(comment.partition("-- ")[2].split()).split("`")
    return "`".join(part if number % 2 else part.replace("*", r"\*") for number, part in enumerate(parts))


def _plain(comment: str) -> str:
    return " ".join(comment.split())


def _type(path: tuple[str, ...], schema: dict[str, Any]) -> str:
    found = schema
    for name in path:
        keys = found.get("properties", {})
        found = _resolved(keys[name] if name in keys else found["additionalProperties"], schema)
    if "enum" in found:
        return ", ".join(_code(one) for one in found["enum"])
    kinds = found.get("type", "object")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def _resolved(found: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in found or "allOf" in found:
        found = schema["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found["allOf"][0]
    return found


def _default(default: str) -> str:
    if len(default) > _SHOWN:
        return "[values.yaml](values.yaml)"
    return _code(default) if default else ""


def _code(text: str) -> str:
    return f"`{text}`"


def main() -> None:
    """Write the tables."""
    schema = json.loads(SCHEMA.read_text())
    README.write_text(written(README.read_text(), VALUES.read_text(), schema))


if __name__ == "__main__":
    main()
