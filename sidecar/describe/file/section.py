# SPDX-License-Identifier: Apache-2.0
"""A mapping with known keys, read key by key: an error in one does not hide those in the others."""

from collections.abc import Callable, Collection
from typing import TypeVar

from sidecar.describe.file.yaml_nodes import Node
from sidecar.errors import Collector

_Value = TypeVar("_Value")
_Other = TypeVar("_Other")


class Section:
    """
    The values of a mapping by key, and the errors found in it.

    Attributes:
        node: The mapping.
        values: The values of the known keys.
        errors: What was found so far; `errors.raise_all` raises it.

    """

    def __init__(self, node: Node, what: str, known: Collection[str]) -> None:
        """Collect unknown and repeated keys; raise ConfigError if *node*, called *what*, is no mapping."""
        self.node = node
        self.errors = Collector()
        self.values = node.mapping(what, self.errors, known)
        self._what = what
        # An unknown key may be the required one, misspelt.
        self.is_spelt_right = not self.errors

    def take(self, name: str, parse: Callable[[Node], _Value], otherwise: _Other) -> _Value | _Other:
        """Return the value at a key as *parse* returns it; *otherwise* if it is absent or refused."""
        node = self.values.get(name)
        return otherwise if node is None else self.errors.take(lambda: parse(node), otherwise)

    def text(self, name: str) -> str | None:
        """Return the text at a key; None if it is absent or refused."""
        return self.take(name, lambda node: node.text(name), None)

    def require(self, name: str, remedy: str) -> None:
        """Collect an error if a key is absent."""
        if name not in self.values and self.is_spelt_right:
            self.errors.add([self.node.refuse(self._what, f"no {name}", remedy)])
