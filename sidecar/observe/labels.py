# SPDX-License-Identifier: Apache-2.0
"""Labels in Prometheus' text format (pure)."""

from collections.abc import Iterable
from functools import lru_cache

from sidecar.describe import prometheus_names
from sidecar.model import Attribute

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def labels(attributes: Iterable[Attribute]) -> bytes:
    """Return what stands between the braces; of two attributes with one label name, the last one wins."""
    by_name = {prometheus_names.label(name): _label(name, value) for name, value in attributes}
    return ",".join(by_name.values()).encode(errors="replace")


def braced(inside: bytes) -> bytes:
    """Return what stands between the name of a sample and its value."""
    return b"{%b} " % inside if inside else b" "


# By type as well, since 1 equals True. Most labels belong to many series.
@lru_cache(maxsize=1024, typed=True)
def _label(name: str, value: str | int | bool) -> str:
    return f'{prometheus_names.label(name)}="{prometheus_names.value(value).translate(ESCAPES)}"'
