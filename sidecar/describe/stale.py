# SPDX-License-Identifier: Apache-2.0
"""Refuse a written layout that BTF contradicts: the program changed, the file did not (pure)."""

from collections.abc import Sequence

from sidecar.describe.entry_error import entry_error
from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec
from sidecar.errors import SourceError

_PADDING = ("pad", "reserved", "unused", "_")


def refuse_stale(layout: LayoutSpec, written: Shape, by_btf: Shape, what: str) -> None:
    """
    Raise SourceError if BTF has a field of the layout elsewhere, or another field in its place.

    Names that BTF does not have, as for the elements of an array or a bare integer, are the user's choice.
    So are types: many programs declare an address as a plain integer.

    Args:
        layout: What the user wrote.
        written: The shape that it describes.
        by_btf: The shape of the same map by BTF.
        what: The map, for messages.

    """
    for parts, known, of in ((written.key, by_btf.key, "key"), (written.value, by_btf.value, "value")):
        for part in parts if known else ():
            cause = _contradiction(part, known, of)
            if cause:
                raise entry_error(
                    layout.at,
                    f"the layout for {what}",
                    cause,
                    "write it again: `xdp-otel discover --write-config MAP --with-layout`; or leave it out "
                    "where BTF can be read",
                    SourceError,
                )


def _contradiction(part: Part, known: Sequence[Part], of: str) -> str:
    """Return how BTF contradicts a part of the layout; empty if it does not."""
    if part.name == of:
        return ""
    written = f"it has {part.name} at {_location(part)} of the {of}"
    namesakes = [other for other in known if part.name in (other.name, *other.aliases)]
    if namesakes:
        agrees = any(_span(other) == _span(part) for other in namesakes)
        return "" if agrees else f"{written}, by BTF it is at {_location(namesakes[0])}"
    start, end = _span(part)
    overlapping = [other for other in known if other.bit_offset < end and start < _span(other)[1]]
    if not overlapping:
        is_padding = part.name.rpartition(".")[2].lower().startswith(_PADDING)
        return "" if is_padding else f"{written}, where BTF has no field"
    array = part.name.rpartition(".")[0]
    named = [other for other in overlapping if other.name != array and not _is_nameless(other, of)]
    return f"{written}, by BTF that is {named[0].name}" if named else ""


def _is_nameless(part: Part, of: str) -> bool:
    """Return whether BTF does not name the bytes: a bare integer, an element, raw bytes, a union."""
    raw = part.encoding in (Encoding.BYTES, Encoding.OTHER) or bool(part.refused)
    is_element = any(word.isdigit() for word in part.name.split("."))
    return part.name == of or raw or is_element or bool(part.bits % 8 or part.bit_offset % 8)


def _span(part: Part) -> tuple[int, int]:
    return part.bit_offset, part.bit_offset + part.bits


def _location(part: Part) -> str:
    if part.bit_offset % 8 or part.bits % 8:
        return f"bit {part.bit_offset}, {part.bits} bits long,"
    return f"byte {part.bit_offset // 8} ({part.bits // 8} long)"
