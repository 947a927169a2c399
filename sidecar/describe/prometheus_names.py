# SPDX-License-Identifier: Apache-2.0
"""
What Prometheus makes of names (pure).

Names that differ here may be one there; of two metrics or labels of one name the Collector's exporter serves
one, or neither, and only its own log says so. So they are refused before anything starts.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

# What the exporter makes of the resource (service.name, service.instance.id).
_OF_RESOURCE = frozenset(("instance", "job"))


def metric(name: str) -> str:
    """Return a metric's name as the exporter has it after its namespace."""
    return "_".join(filter(None, re.split(r"[^A-Za-z0-9_:]+", name)))


@lru_cache(maxsize=1024)
def label(attribute: str) -> str:
    """Return the label of an attribute."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", attribute)
    return f"key_{plain}" if plain[:1].isdigit() else plain


def value(said: str | int | bool) -> str:
    """Return the value of a label."""
    return str(said).lower() if isinstance(said, bool) else str(said)


def refused(attribute: str) -> str:
    """Return why no point can have an attribute of this name; empty: it can."""
    found = label(attribute)
    if found in _OF_RESOURCE:
        return f"Prometheus has {found!r} of the sidecar itself"
    if found.startswith("__") or not found.strip("_"):
        return f"Prometheus takes no label {found!r}"
    return ""


def told_apart(names: Iterable[str], shown: Callable[[str], str], taken: Iterable[str] = ()) -> Iterator[str]:
    """
    Yield the names, a number behind those that are *shown* (`metric`, `label`) as one before them is.

    Those that are *taken* come before them all.
    """
    met = {shown(name) for name in taken}
    for name in names:
        chosen, number = name, 1
        while shown(chosen) in met:
            number += 1
            chosen = f"{name}_{number}"
        met.add(shown(chosen))
        yield chosen


def usable(attribute: str) -> str:
    """Return the name itself, or one like it that is not refused."""
    return f"key.{attribute}" if refused(attribute) else attribute
