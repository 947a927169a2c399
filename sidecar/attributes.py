# SPDX-License-Identifier: Apache-2.0
"""
Encode attributes as OTLP bytes, and decode them (pure).

The encoded attributes of a series identify it. They are the trailing bytes of its data points in OTLP
(`metrics.proto`, NumberDataPoint, field 7), so an export copies them. The encoding is unambiguous.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from sidecar.model import Attribute, Attributes
from sidecar.u64 import U64

if TYPE_CHECKING:  # commands that only read maps start without the OTLP classes
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

_SHORT = [bytes([number]) for number in range(128)]
_STRING_TAG = b"\x0a"


def varint(number: int) -> bytes:
    """Return a non-negative number as a protobuf varint."""
    if number < 128:
        return _SHORT[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def framed(tag: bytes, body: bytes) -> bytes:
    """Return a length-delimited protobuf field: tag, length, body."""
    return tag + varint(len(body)) + body


def encode_attributes(attributes: Iterable[Attribute]) -> bytes:
    """Return the attributes as the trailing bytes of a data point."""
    # Ten times as fast as the generated classes, and needed for each new key.
    return b"".join(framed(b"\x3a", _key(key) + framed(b"\x12", _value(value))) for key, value in attributes)


def head_of_integer(key: str, length: int) -> bytes:
    """Return what precedes the varint, of *length* bytes, of an integer in an encoded attribute."""
    return _head(key, b"\x18", length)


def head_of_text(key: str, length: int) -> bytes:
    """Return what precedes the *length* bytes of a text in an encoded attribute."""
    return _head(key, _STRING_TAG + varint(length), length)


def _head(key: str, of_value: bytes, length: int) -> bytes:
    value = b"\x12" + varint(len(of_value) + length) + of_value
    return b"\x3a" + varint(len(_key(key)) + len(value) + length) + _key(key) + value


@cache
def _key(key: str) -> bytes:
    return framed(_STRING_TAG, key.encode()) if key else b""


def _value(value: str | int | bool) -> bytes:
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & U64)
    return framed(_STRING_TAG, value.encode())


def split_attributes(encoded: bytes) -> Iterator[bytes]:
    """Yield each attribute as a serialized KeyValue (`common.proto`)."""
    at = 0
    while at < len(encoded):
        size = shift = 0
        while True:
            at += 1
            size |= (encoded[at] & 127) << shift
            shift += 7
            if encoded[at] < 128:
                break
        yield encoded[at + 1 : at + 1 + size]
        at += 1 + size


def decode_attributes(encoded: bytes) -> Attributes:
    """
    Return the attributes that `encode_attributes` encoded.

    Raises:
        google.protobuf.message.DecodeError: The bytes are no attributes.

    """
    from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint  # noqa: PLC0415

    return from_key_values(NumberDataPoint.FromString(encoded).attributes)


def from_key_values(messages: "Iterable[KeyValue]") -> Attributes:
    """Return the attributes of KeyValue messages (`common.proto`)."""
    return tuple((pair.key, getattr(pair.value, pair.value.WhichOneof("value") or "")) for pair in messages)
