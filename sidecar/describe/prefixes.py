# SPDX-License-Identifier: Apache-2.0
"""
The keys of LPM tries: which parts are the prefix, and how a prefix is shown (pure).

A key is `struct bpf_lpm_trie_key`: the number of bits that count, a u32, then the bits, the most significant
bit of each byte first, whatever the machine (include/uapi/linux/bpf.h, kernel/bpf/lpm_trie.c).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sidecar.describe.shape import Encoding, Part, Shape
from sidecar.kernel.syscall import MapInfo

_LENGTH_BITS = 32
_ADDRESS_BITS = (32, 128)
_WORDS = 4  # of an IPv6 address, as __be32[4]


def with_prefix(shape: Shape, info: MapInfo) -> Shape:
    """Return the shape of a map; if it is a trie, with the parts of its keys' prefixes marked as such."""
    return replace(shape, key=_marked(shape.key)) if info.kind.is_trie else shape


def opaque_prefix(key_size: int) -> Part:
    """Return the prefix of a trie whose key nothing describes."""
    size = key_size - _LENGTH_BITS // 8
    return Part("key", _LENGTH_BITS, 8 * size, Encoding.BYTES, f"{size} bytes", in_prefix=True)


def in_prefix_notation(
    decode: Callable[[bytes], str | int | bool],
    in_part: Callable[[bytes], str | int | bool],
    part: Part,
    *,
    always: bool,
) -> Callable[[bytes], str | int | bool]:
    """
    Return a decoder that appends the number of bits that count, `10.0.0.0/8`, and clears the others.

    Unless *always*, a part all of whose bits count is shown as in any other map; *in_part* decodes it if only
    some do: they are no name.
    """
    first, last = part.bit_offset // 8, -(-(part.bit_offset + part.bits) // 8)
    bits = 8 * (last - first)

    def decoded(raw: bytes) -> str | int | bool:
        length = int.from_bytes(raw[: _LENGTH_BITS // 8], sys.byteorder) - (8 * first - _LENGTH_BITS)
        if length >= bits and not always:
            return decode(raw)
        length = max(0, min(length, bits))
        wildcards = bits - length
        number = int.from_bytes(raw[first:last], "big") >> wildcards << wildcards
        value = (decode if length == bits else in_part)(
            raw[:first] + number.to_bytes(last - first, "big") + raw[last:]
        )
        return f"{value}/{length}"

    return decoded


def _marked(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(
        replace(part, in_prefix=True) if part.bit_offset >= _LENGTH_BITS else part
        for part in _with_addresses(parts)
    )


def _with_addresses(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield the parts, four words of one array as one address, and whatever is the only part as bytes."""
    joined = list(_joined(parts))
    prefix = [part for part in joined if part.bit_offset >= _LENGTH_BITS]
    for part in joined:
        is_address = prefix == [part] and part.bits in _ADDRESS_BITS
        yield replace(part, encoding=Encoding.BYTES, big_endian=False) if is_address else part


def _joined(parts: Sequence[Part]) -> Iterator[Part]:
    at = 0
    while at < len(parts):
        part, words = parts[at], parts[at : at + _WORDS]
        name = part.name.removesuffix(".0")
        if [(word.name, word.bits, word.refused) for word in words] == [
            (f"{name}.{index}", 32, "") for index in range(_WORDS)
        ]:
            at += _WORDS
            yield Part(name, part.bit_offset, 32 * _WORDS, Encoding.BYTES, f"{part.type}[{_WORDS}]")
        else:
            at += 1
            yield part
