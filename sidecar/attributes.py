# SPDX-License-Identifier: Apache-2.0
"""Attributes as OTLP has them: `common.proto` (pure)."""

from collections.abc import Iterable

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sidecar.model import Attribute, Attributes


def key_values(attributes: Iterable[Attribute]) -> list[KeyValue]:
    """Return attributes as messages."""
    return [KeyValue(key=key, value=_any_value(value)) for key, value in attributes]


def pairs(messages: Iterable[KeyValue]) -> Attributes:
    """Return what `key_values` was given."""
    return tuple((one.key, getattr(one.value, one.value.WhichOneof("value") or "")) for one in messages)


def _any_value(value: str | int | bool) -> AnyValue:
    # A bool is an int in Python.
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
