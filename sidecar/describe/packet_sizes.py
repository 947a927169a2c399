# SPDX-License-Identifier: Apache-2.0
"""The histogram of packet sizes of an interface: a source of its own beside that of the packets (pure)."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sidecar.describe.spec import SourceSpec


def with_packet_sizes(specs: Iterable[SourceSpec]) -> Iterator[SourceSpec]:
    """
    Yield the sources, each of an interface with the source of its packet sizes.

    That one has the same attributes and limits, but the metrics of its own built-in profile.
    """
    for spec in specs:
        yield spec
        if spec.map_ref.kind == "interface":
            map_ref = replace(spec.map_ref, counted="sizes")
            bare = replace(spec, map_ref=map_ref, profile=None, layout=None, key=None, metrics=None, where=())
            yield replace(bare, cpu=None, rows=None)
