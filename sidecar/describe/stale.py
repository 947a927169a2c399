# SPDX-License-Identifier: Apache-2.0
"""Refuse a written layout that BTF contradicts: the program was changed, and the file was not (pure)."""

from collections.abc import Sequence

from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.describe.spec import LayoutSpec
from sidecar.describe.suggest import at_line
from sidecar.errors import SourceError

_PADDING = ("pad", "reserved", "unused", "_")


def refuse_stale(layout: LayoutSpec, written: Shape, known: Shape, what: str) -> None:
    """
    Raise SourceError if a field of the layout lies elsewhere by BTF, or BTF has another one in its place.

    Args:
        layout: What the user wrote.
        written: What it comes to.
        known: What BTF says of the same map.
        what: The map, for messages.

    Where BTF has no name for the bytes, as in an array or a bare integer, the user may call them what he
    likes; types are his own affair too, since many programs declare an address as a plain integer.

    """
    for parts, others, of in ((written.key, known.key, "key"), (written.value, known.value, "value")):
        for part in parts if others else ():
            cause = _contradiction(part, others, of)
            if cause:
                raise SourceError(
                    at_line(layout.at, f"the layout for {what}"),
                    cause,
                    "write it again: `xdp-otel discover --write-config MAP --with-layout`; or leave it out "
                    "where BTF may be read",
                )


def _contradiction(part: Part, known: Sequence[Part], of: str) -> str:
    """Return what BTF says against a part of the layout; empty: nothing."""
    if part.name == of:
        return ""
    said = f"it has {part.name} at {_place(part)} of the {of}"
    namesakes = [one for one in known if part.name in (one.name, *one.aliases)]
    if namesakes:
        fits = any(_span(one) == _span(part) for one in namesakes)
        return "" if fits else f"{said}, by BTF it is at {_place(namesakes[0])}"
    there = [one for one in known if one.bit_offset < _span(part)[1] and part.bit_offset < _span(one)[1]]
    if not there:
        is_padding = part.name.rpartition(".")[2].lower().startswith(_PADDING)
        return "" if is_padding else f"{said}, where by BTF no field is"
    array = part.name.rpartition(".")[0]
    named = [one for one in there if one.name != array and not _is_nameless(one, of)]
    return f"{said}, by BTF that is {named[0].name}" if named else ""


def _is_nameless(part: Part, of: str) -> bool:
    """Return whether BTF does not say what the bytes are: a bare integer, an element, raw bytes, a union."""
    raw = part.encoding in (Encoding.BYTES, Encoding.OTHER) or bool(part.refused)
    counted = any(word.isdigit() for word in part.name.split("."))
    return part.name == of or raw or counted or bool(part.bits % 8 or part.bit_offset % 8)


def _span(part: Part) -> tuple[int, int]:
    return part.bit_offset, part.bit_offset + part.bits


def _place(part: Part) -> str:
    if part.bit_offset % 8 or part.bits % 8:
        return f"bit {part.bit_offset}, {part.bits} bits long,"
    return f"byte {part.bit_offset // 8} ({part.bits // 8} long)"
