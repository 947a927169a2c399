# SPDX-License-Identifier: Apache-2.0
"""A YAML file as nodes that know their line, so that every error can name it."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sidecar.describe.file import pitfalls
from sidecar.errors import Collector, ConfigError, is_text
from sidecar.suggest import suggest

_MAX_FILE = 1 << 20
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][-+]?[0-9]{1,2})?")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TAGS = {
    "scalar": "tag:yaml.org,2002:str",
    "sequence": "tag:yaml.org,2002:seq",
    "mapping": "tag:yaml.org,2002:map",
}
_NULL = ("", "~", "null", "Null", "NULL")


class Node:
    """
    A value of the file, read as the type that the caller expects.

    Plain scalars follow the core schema of YAML 1.2: `no` and `on` are text, not booleans.

    Attributes:
        at: `file:line`, lines from 1.

    """

    def __init__(self, node: Any, file: str) -> None:
        self._node = node
        self._file = file
        self.at = f"{file}:{node.start_mark.line + 1}"

    def refuse(self, what: str, cause: str, remedy: str) -> ConfigError:
        """Return the error that refuses *what* at this node's line."""
        return ConfigError(what, cause, remedy, at=self.at)

    def mapping(
        self, what: str, errors: Collector, known: Collection[str] | None = None
    ) -> dict[str, "Node"]:
        """Return the values by key, collecting repeated and unknown keys; raise ConfigError if no mapping."""
        if self._node.id != "mapping":
            raise self._unexpected(what, "a mapping", f"write key: value lines{_with(known)}")
        values: dict[str, Node] = {}
        for key_node, value in self._node.value:
            key = Node(key_node, self._file)
            if key_node.id != "scalar":
                errors.add([key.refuse(what, "a key that is not text", "write a name before the colon")])
                continue
            name: str = key_node.value
            if name in values:
                cause = f"also at {values[name].at}"
                errors.add([key.refuse(f"{what}, key {name!r}", cause, "write it once")])
            elif known is not None and name not in known:
                errors.add([key.refuse(f"{what}, key {name!r}", "unknown", suggest(name, known))])
            else:
                values[name] = Node(value, self._file)
        return values

    def sequence(self, what: str) -> list["Node"]:
        """Return the items; raise ConfigError unless it is a list."""
        if self._node.id != "sequence":
            raise self._unexpected(what, "a list", "begin each item's line with `- `, or write [] for none")
        return [Node(item, self._file) for item in self._node.value]

    def text(self, what: str) -> str:
        """Return a text that is not empty, or raise ConfigError."""
        text = self.scalar(what)
        if not isinstance(text, str):
            raise self._unexpected(what, "text", f'write "{self._node.value}" in quotes')
        if not text:
            raise self.refuse(what, "empty", "write something, or leave it out")
        return text

    def text_or_empty(self, what: str) -> str:
        """Return a text, or raise ConfigError."""
        return "" if self.scalar(what) == "" else self.text(what)

    def integer(self, what: str, low: int, high: int) -> int:
        """Return an integer from *low* to *high*, or raise ConfigError."""
        number = self.scalar(what)
        if isinstance(number, bool) or not isinstance(number, int):
            raise self._unexpected(what, "an integer", pitfalls.integer(str(number)))
        if not low <= number <= high:
            raise self.refuse(
                what, f"{number} is not between {low} and {high}", "write a number in that range"
            )
        return number

    def number(self, what: str) -> str:
        """Return the text of a decimal number, `1e-9`, or raise ConfigError."""
        text = str(self._node.value) if self._node.id == "scalar" else ""
        if not _DECIMAL.fullmatch(text):
            raise self._unexpected(what, "a number", "write a decimal number, such as 1e-9")
        return text

    def boolean(self, what: str) -> bool:
        """Return true or false, or raise ConfigError."""
        boolean = self.scalar(what)
        if not isinstance(boolean, bool):
            raise self._unexpected(what, "a boolean", pitfalls.boolean(str(boolean)))
        return boolean

    def choice(self, what: str, known: Collection[str]) -> str:
        """Return a text of *known*, or raise ConfigError."""
        text = self.text(what)
        if text not in known:
            raise self.refuse(f"{what} {text!r}", "unknown", suggest(text, known))
        return text

    def scalar(self, what: str) -> str | int | bool:
        """Return a text, an integer or a boolean; raise ConfigError for anything else."""
        if self._node.id != "scalar":
            raise self._unexpected(what, "a single value", self._how_to_write(what))
        text: str = self._node.value
        if self._node.style is not None:
            return text
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            if len(text) > 20:
                raise self.refuse(what, f"{text[:20]}… has {len(text)} digits", "write at most 64 bits")
            return int(text, 16) if text.startswith("0x") else int(text)
        if text in _NULL:
            raise self.refuse(what, "empty", pitfalls.nothing(self._rest_of_line()))
        if _FLOAT.fullmatch(text):
            raise self.refuse(what, f"{text} is not an integer", pitfalls.decimal(text))
        return text

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return bool(self._node.id == "mapping")

    @property
    def is_sequence(self) -> bool:
        """Whether it is a list."""
        return bool(self._node.id == "sequence")

    def _how_to_write(self, what: str) -> str:
        """Return how to write a single value in place of a mapping or a list."""
        start, end = self._node.start_mark, self._node.end_mark
        is_flow = self._node.flow_style and start.line == end.line
        return pitfalls.single(what, start.buffer[start.pointer : end.pointer] if is_flow else "")

    def _rest_of_line(self) -> str:
        mark = self._node.end_mark
        return str(mark.buffer[mark.pointer :].partition("\n")[0])

    def _unexpected(self, what: str, expected: str, remedy: str) -> ConfigError:
        return self.refuse(what, f"expected {expected}, got {self._shown()}", remedy)

    def _shown(self) -> str:
        if self._node.id != "scalar":
            return "a list" if self._node.id == "sequence" else "a mapping"
        value, is_plain = self._node.value, self._node.style is None
        if is_plain and value in _NULL:
            return "nothing"
        return ("" if is_plain else "the text ") + repr(value if len(value) <= 40 else value[:40] + "…")


def _with(known: Collection[str] | None) -> str:
    return f" with {', '.join(known)}" if known else ""


def read(path: Path, label: str | None = None, *, by: str = "") -> Node:
    """
    Return the only document of a YAML file.

    In messages, *label* stands for the file, and *by* is the flag or variable that names it.

    Raises:
        ConfigError: It cannot be read, is not YAML, is empty, or uses tags or aliases.

    """
    file = label or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        remedy = f"name a YAML file that can be read{' in ' if by else ''}{by}"
        raise ConfigError(f"read {file}", cause, remedy) from None
    if len(raw) > _MAX_FILE:
        raise ConfigError(f"read {file}", "larger than 1 MiB", "is it the configuration?")
    try:
        return parse(raw.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _malformed(file, line, "not UTF-8", "save the file as UTF-8") from None


def parse(text: str, file: str) -> Node:
    """Return the only document of a YAML text; raise ConfigError as `read` does."""
    import yaml  # noqa: PLC0415  # 1 MB of RSS, paid only where a file is read

    loader: Any = None
    try:
        # Its nodes have marks. Not libyaml's loader, which overflows the C stack on deep nesting.
        loader = yaml.BaseLoader(text)
        document: Any = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unknown error"
        line = mark.line if mark else 0
        remedy = pitfalls.syntax(problem, text.splitlines()[line : line + 1])
        raise _malformed(file, line + 1, f"invalid YAML: {problem}", remedy) from None
    except yaml.YAMLError as error:
        # A ReaderError, which has a position but no mark.
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise _malformed(file, line, "a character that YAML does not allow", "remove it") from None
    except RecursionError:
        raise _malformed(file, 1, "nested too deeply", "is it the configuration?") from None
    except (ValueError, OverflowError):
        # PyYAML passes any `\U` escape to `chr`, and any YAML version to `int`.
        raise _malformed(file, loader.line + 1, "an escape or a number out of range", "fix it") from None
    if document is None:
        raise _malformed(file, 1, "empty", "see docs/configuration.md for an example")
    errors = Collector()
    errors.add(_unsupported(document, file))
    errors.raise_all()
    return Node(document, file)


def _malformed(file: str, line: int, cause: str, remedy: str) -> ConfigError:
    return ConfigError("cannot parse", cause, remedy, at=f"{file}:{line}")


def _unsupported(root: Any, file: str) -> Iterator[ConfigError]:
    """Yield an error for each tag, for each alias, and for each escape that is no character."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            yield Node(node, file).refuse(
                "anchor", "aliases (*name) are not supported", "write it out, or use a profile"
            )
            continue
        seen.add(id(node))
        if node.tag != _TAGS[node.id]:
            remedy = "leave it out, or quote the text if `!` belongs to it"
            yield Node(node, file).refuse(f"tag {node.tag}", "tags are not supported", remedy)
        if node.id == "scalar" and not is_text(node.value):
            yield Node(node, file).refuse("escape", "half of a surrogate pair", r"write \U and eight digits")
        if node.id == "mapping":
            pending += [child for pair in node.value for child in pair]
        elif node.id == "sequence":
            pending += node.value
