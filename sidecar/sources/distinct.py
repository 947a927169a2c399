# SPDX-License-Identifier: Apache-2.0
"""Tell open sources apart, so that no two of them write the same stream."""

from collections.abc import Sequence

from sidecar.sources.source import Source
from sidecar.sources.streams import in_conflict, refuse_two_kinds, streams_of


def tell_apart(sources: Sequence[Source]) -> None:
    """
    Put `xdp.source` on those open sources that may write a stream of another's, now and from now on.

    A source that begins to write such a stream later, because its map was replaced, gets the attribute then,
    and only that source does: the series of the others keep their attributes.

    Raises:
        ConfigError: A metric is a counter in one source only: Prometheus would show only one of them.

    """
    refuse_two_kinds((source.name, source.schema) for source in sources)
    conflicting = in_conflict((source.name, streams_of(source.schema)) for source in sources)
    for source in sources:
        if source.name in conflicting:
            source.add_source_attribute()
    for source in sources:
        source.keep_apart_from(sources)
