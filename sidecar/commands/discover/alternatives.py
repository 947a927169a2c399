# SPDX-License-Identifier: Apache-2.0
"""Which other decoders a written configuration offers in a comment (pure)."""

from sidecar.describe import decoders
from sidecar.describe.guesses import decodes
from sidecar.describe.shape import Encoding, Part

# Not worth offering: these decode nearly anything.
_OBVIOUS = frozenset(("enum", "table", "bool", "integer_be", "xdp_action", "ifname", "protocol"))
_FOR_TEXT = frozenset(("text", "string"))


def alternatives_to(decoder: str, part: Part) -> list[str]:
    """Return the other decoders that can decode *part* and are worth offering."""
    excluded = {decoder, *_OBVIOUS} if part.encoding is Encoding.STRING else {decoder, *_OBVIOUS, *_FOR_TEXT}
    return [name for name in decoders.DECODERS if name not in excluded and decodes(name, part)]
