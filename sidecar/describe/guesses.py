# SPDX-License-Identifier: Apache-2.0
"""
What the names and types of fields suggest where the user says nothing (pure).

Which parts of a key are attributes, their decoders, and the units of metrics; whether a field is a count is
in `meaning`. `run`, `check`, `dump`, `top` and `discover --write-config` all guess here. docs/metrics.md has
the rules for users.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from sidecar.describe import decoders
from sidecar.describe.shape import Encoding, Part, distinguishing_parts, joined_part
from sidecar.errors import ConfigError

_ADDRESS = re.compile(r"addr|(^|[._])[sd]?ip(v?[46])?$|(^|[._])(src|dst)$")
# By the name of a field: the decoders to try. The first name that matches decides.
_DECODERS = (
    (_ADDRESS, ("ipv4", "ipv6", "mac")),
    (re.compile(r"(^|[._])([sd]?mac|eth)"), ("mac",)),
    (re.compile(r"port$"), ("port",)),
    (re.compile(r"(^|[._]|l4_?|ip_?)proto(col)?$"), ("protocol",)),
    (re.compile(r"ifindex|iface$"), ("ifname",)),
    (re.compile(r"action$"), ("xdp_action",)),
)
_UNITS = (
    (re.compile(r"byte|octet"), "By"),
    (re.compile(r"pa?c?ke?ts?|frames?"), "{packet}"),
    (re.compile(r"(^|[._])(ns|nsecs?|nanos)$"), "ns"),
    (re.compile(r"(^|[._])(us|usecs?)$"), "us"),
    (re.compile(r"(^|[._])(ms|msecs?)$"), "ms"),
)
_PADDING = re.compile(r"(^|[._])_*(pad(ding)?|reserved|rsvd|unused)_*[0-9]*([.][0-9]+)*$")
_WORDS_OF_IPV6 = ((32, 4), (64, 2))


def key_parts(parts: Iterable[Part]) -> list[Part]:
    """
    Return the parts of a key that become attributes, an IPv6 address in words as one.

    Padding is no attribute: keys that differ only there are summed. If there is nothing else, it stays.
    """
    distinguishing = distinguishing_parts(parts)
    wanted = [part for part in distinguishing if not is_padding(part)] or distinguishing
    return list(_with_addresses_joined(wanted))


def is_padding(part: Part) -> bool:
    """Return whether the name says that a part of a key has no meaning."""
    return bool(_PADDING.search(part.name.lower()))


def decoder_of(part: Part) -> str:
    """Return the decoder that the name of *part* suggests, or else the default of its type."""
    default = decoders.default_for(part)
    if part.refused:
        return "hex" if decodes("hex", part) else default
    if default in ("hex", "integer", "integer_be"):
        for name, candidates in _DECODERS:
            if name.search(part.name.lower()):
                return next((decoder for decoder in candidates if decodes(decoder, part)), default)
    return default


def unit_of(field: str) -> str:
    """Return the UCUM unit that the name of a field suggests; empty if none."""
    return next((unit for name, unit in _UNITS if name.search(field.lower())), "")


def decodes(decoder: str, part: Part) -> bool:
    """Return whether a decoder can decode *part*, as far as type and byte order tell."""
    # By size alone, network byte order and host byte order cannot be told apart.
    if decoder in ("ipv4", "port") and not part.big_endian:
        return False
    try:
        decoders.bind(decoder, part)
    except ConfigError:
        return False
    return True


def _with_addresses_joined(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield *parts* with the words of `__be32 saddr[4]` as one part, `saddr`."""
    joined: set[str] = set()
    for part in parts:
        array, _, index = part.name.rpartition(".")
        words = [other for other in parts if other.name.rpartition(".")[0] == array]
        address = _address(array, words, parts) if index.isdigit() else None
        if address is None:
            yield part
        elif array not in joined:
            joined.add(array)
            yield address


def _address(array: str, words: Sequence[Part], parts: Sequence[Part]) -> Part | None:
    sizes = {part.bits for part in words}
    is_address = (
        _ADDRESS.search(array.lower())
        and any(sizes == {bits} and len(words) == count for bits, count in _WORDS_OF_IPV6)
        and all(part.encoding is Encoding.UNSIGNED and not part.refused for part in words)
    )
    return joined_part(parts, array) if is_address else None
