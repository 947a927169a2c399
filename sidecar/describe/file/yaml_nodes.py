# SPDX-License-Identifier: Apache-2.0
"""A YAML file as nodes that know their line, so that whatever is wrong can be said where it stands."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sidecar.describe.suggest import nearest
from sidecar.errors import ConfigError, is_text

LARGEST_FILE = 1 << 20
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
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
    A value of the file; what it must be is said by who reads it.

    A plain scalar is what YAML 1.2's core schema takes it for: `no` and `on` are text, not booleans.

    Attributes:
        at: `file:line`, lines from 1.

    """

    def __init__(self, node: Any, file: str) -> None:
        self._node = node
        self._file = file
        self.at = f"{file}:{node.start_mark.line + 1}"

    def refuse(self, what: str, cause: str, remedy: str) -> ConfigError:
        """Return the error that refuses something of this node."""
        return ConfigError(what, cause, remedy, at=self.at)

    def mapping(self, what: str, known: Collection[str] | None = None) -> dict[str, "Node"]:
        """Return the values by key; raise ConfigError unless it is a mapping of unique, *known* keys."""
        if self._node.id != "mapping":
            raise self._wrong(what, "a mapping", f"write key: value lines{_of(known)}")
        found: dict[str, Node] = {}
        for key_node, value in self._node.value:
            key = Node(key_node, self._file)
            if key_node.id != "scalar":
                raise key.refuse(what, "a key that is no text", "write a name before the colon")
            name: str = key_node.value
            if name in found:
                raise key.refuse(f"{what}, key {name!r}", f"also on line {found[name].line}", "write it once")
            if known is not None and name not in known:
                raise key.refuse(f"{what}, key {name!r}", "unknown", nearest(name, known))
            found[name] = Node(value, self._file)
        return found

    def sequence(self, what: str) -> list["Node"]:
        """Return the items; raise ConfigError if it is no list."""
        if self._node.id != "sequence":
            raise self._wrong(what, "a list", "write its items as lines that begin with `- `, or [] for none")
        return [Node(item, self._file) for item in self._node.value]

    def text(self, what: str, *, empty: bool = False) -> str:
        """Return a text; raise ConfigError if it is something else, or empty where that is not allowed."""
        found = self.scalar(what)
        if not isinstance(found, str):
            raise self._wrong(what, "text", f'write "{self._node.value}" in quotes')
        if not found and not empty:
            raise self.refuse(what, "empty", "write something, or leave it out")
        return found

    def integer(self, what: str, low: int, high: int) -> int:
        """Return an integer from *low* to *high*, or raise ConfigError."""
        found = self.scalar(what)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._wrong(what, "an integer", "write digits, without quotes")
        if not low <= found <= high:
            raise self.refuse(what, f"{found} is not from {low} to {high}", "write a number in that range")
        return found

    def boolean(self, what: str) -> bool:
        """Return true or false, or raise ConfigError."""
        found = self.scalar(what)
        if not isinstance(found, bool):
            raise self._wrong(what, "a boolean", "write true or false")
        return found

    def choice(self, what: str, known: Collection[str]) -> str:
        """Return a text that is one of *known*, or raise ConfigError."""
        found = self.text(what)
        if found not in known:
            raise self.refuse(f"{what} {found!r}", "unknown", nearest(found, known))
        return found

    def scalar(self, what: str) -> str | int | bool:
        """Return a text, an integer or a boolean; raise ConfigError if it is something else."""
        if self._node.id != "scalar":
            raise self._wrong(what, "a single value", "write it behind the colon")
        text: str = self._node.value
        if self._node.style is not None:
            return text
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _INTEGER.fullmatch(text):
            return _integer(text) if len(text) <= 20 else self._too_long(what, text)
        if text in _NULL:
            raise self.refuse(what, "empty", "write something, or leave the key out")
        if _FLOAT.fullmatch(text):
            raise self.refuse(what, f"{text} is not an integer", f'round it, or write "{text}" for text')
        return text

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return bool(self._node.id == "mapping")

    @property
    def line(self) -> int:
        """The line, from 1."""
        return int(self._node.start_mark.line) + 1

    def _too_long(self, what: str, text: str) -> int:
        raise self.refuse(what, f"{text[:20]}… has {len(text)} digits", "64 bits is the most")

    def _wrong(self, what: str, wanted: str, remedy: str) -> ConfigError:
        return self.refuse(what, f"not {wanted} but {self._said()}", remedy)

    def _said(self) -> str:
        if self._node.id != "scalar":
            return "a list" if self._node.id == "sequence" else "a mapping"
        if self._node.style is None and self._node.value in _NULL:
            return "nothing"
        kind = "the text " if self._node.style is not None else ""
        value = self._node.value
        return kind + repr(value if len(value) <= 40 else value[:40] + "…")


def _integer(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)


def _of(known: Collection[str] | None) -> str:
    return f" with {', '.join(known)}" if known else ""


def read(path: Path, label: str | None = None) -> Node:
    """
    Return the one document of a YAML file; *label* stands for the file in messages.

    Raises:
        ConfigError: It cannot be read, is no YAML, has tags or aliases, or is empty.

    """
    file = label or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ConfigError(f"read {file}", cause, "name a YAML file that can be read") from None
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"read {file}", "larger than 1 MiB", "is it the configuration?")
    try:
        return parse(raw.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "cannot read it", "not UTF-8", "save the file as UTF-8", at=f"{file}:{line}"
        ) from None


def parse(text: str, file: str) -> Node:
    """Return the one document of a YAML text; raise ConfigError as `read` does."""
    import yaml  # noqa: PLC0415  # 1 MB that only those pay for who read a file

    composer: Any = None
    try:
        composer = _composer(text)
        document: Any = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = error.problem or error.context or "cannot be understood"
        raise ConfigError(
            "cannot read it", f"no YAML: {problem}", "correct that line", at=f"{file}:{line}"
        ) from None
    except yaml.YAMLError as error:
        # A character that YAML does not allow; it has a position, and no line.
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise ConfigError(
            f"{file}:{line}: read it", "a character that YAML does not allow", "remove it"
        ) from None
    except RecursionError:
        raise ConfigError(
            "cannot read it", "nested too deeply", "is it the configuration?", at=f"{file}:1"
        ) from None
    except (ValueError, OverflowError):
        # PyYAML asks `chr` for whatever `\U` says, and `int` for any version of YAML.
        line = composer.line + 1
        cause = "an escape or a number that is out of range"
        raise ConfigError("cannot read it", cause, "correct that line", at=f"{file}:{line}") from None
    if document is None:
        raise ConfigError(
            "cannot read it", "empty", "see docs/configuration.md for an example", at=f"{file}:1"
        )
    for node in _walk(document, file):
        if node.tag != _TAGS[node.id]:
            raise Node(node, file).refuse("read it", f"tag {node.tag}", "leave tags out")
        if node.id == "scalar" and not is_text(node.value):
            raise Node(node, file).refuse("read it", "half of a surrogate pair", r"write \U and eight digits")
    return Node(document, file)


def _walk(root: Any, file: str) -> Iterator[Any]:
    """Yield each node once; raise ConfigError for an alias, which would be met twice or for ever."""
    met: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in met:
            raise Node(node, file).refuse(
                "read it", "an alias (*name) stands for it", "write it out, or use a profile"
            )
        met.add(id(node))
        yield node
        if node.id == "mapping":
            waiting += [one for pair in node.value for one in pair]
        elif node.id == "sequence":
            waiting += node.value


def _composer(text: str) -> Any:
    """
    Return PyYAML's own parser without its constructor: nodes with marks, and no objects made of them.

    Not libyaml's, which overflows the C stack on a text that nests deeply.
    """
    from yaml.composer import Composer  # noqa: PLC0415
    from yaml.parser import Parser  # noqa: PLC0415
    from yaml.reader import Reader  # noqa: PLC0415
    from yaml.resolver import BaseResolver  # noqa: PLC0415
    from yaml.scanner import Scanner  # noqa: PLC0415

    class Nodes(Reader, Scanner, Parser, Composer, BaseResolver):
        def __init__(self) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)
            BaseResolver.__init__(self)

    return Nodes()
