# SPDX-License-Identifier: Apache-2.0
"""Guess decoders and units from the names and types of fields (pure)."""

import re

from sidecar.describe import decoders
from sidecar.describe.shape import Encoding, Part
from sidecar.errors import ConfigError

# By the name of a field: the decoders to try. The first name that matches decides.
_DECODERS = (
    (re.compile(r"addr|(^|[._])[sd]?ip[46]?$|src$|dst$"), ("ipv4", "ipv6", "mac")),
    (re.compile(r"(^|[._])(e?mac|eth)"), ("mac",)),
    (re.compile(r"port$"), ("port",)),
    (re.compile(r"proto(col)?$"), ("protocol",)),
    (re.compile(r"ifindex|iface$"), ("ifname",)),
    (re.compile(r"action$"), ("xdp_action",)),
)
_UNITS = ((re.compile(r"byte|octet"), "By"), (re.compile(r"pa?c?ke?ts?|frames?"), "{packet}"))
# Not worth offering: these decode nearly anything.
_OBVIOUS = frozenset(("enum", "table", "bool", "integer_be", "xdp_action", "ifname", "protocol"))
_FOR_TEXT = frozenset(("text", "string"))


def decoder_of(part: Part) -> str:
    """Return the decoder that the name of *part* suggests, or else the default of its type."""
    default = decoders.default_for(part)
    if part.refused:
        return "hex"
    if default in ("hex", "integer", "integer_be"):
        for name, candidates in _DECODERS:
            if name.search(part.name.lower()):
                return next((decoder for decoder in candidates if _decodes(decoder, part)), default)
    return default


def alternatives_to(decoder: str, part: Part) -> list[str]:
    """Return the other decoders that can decode *part* and are worth offering."""
    excluded = {decoder, *_OBVIOUS} if part.encoding is Encoding.STRING else {decoder, *_OBVIOUS, *_FOR_TEXT}
    return [name for name in decoders.DECODERS if name not in excluded and _decodes(name, part)]


def unit_of(field: str) -> str:
    """Return the UCUM unit that the name of a field suggests; `1` if none."""
    return next((unit for name, unit in _UNITS if name.search(field.lower())), "1")


def _decodes(decoder: str, part: Part) -> bool:
    # By size alone, network byte order and host byte order cannot be told apart.
    if decoder in ("ipv4", "port") and not part.big_endian:
        return False
    try:
        decoders.bind(decoder, part)
    except ConfigError:
        return False
    return True
