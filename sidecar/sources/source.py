# SPDX-License-Identifier: Apache-2.0
"""Keep the map of one source open, and follow it when another map takes its place."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar import bpf_reader
from sidecar.errors import KernelError, SidecarError, explain, from_os_error
from sidecar.kernel import syscall as bpf
from sidecar.model import MapIdentity, Snapshot
from sidecar.schema import SOURCE_ATTRIBUTE, Schema
from sidecar.sources.distinct import Streams, meeting, refuse_two_kinds, streams_of

log = logging.getLogger(__name__)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

Locate = Callable[["bpf.MapInfo | None"], "int | None"]
"""
Open the source's present map, given the one that is open; None: it is seen without that to be the same one.

Raises SidecarError if that cannot be done.
"""

Resolve = Callable[[bpf.MapInfo], Schema]
"""Return what is made of a map; raise SidecarError if nothing can be."""

Born = Callable[[int], int]
"""Return since when the map with an id counts, Unix ns."""


class Source:
    """
    One map that counts come from, by the place it was found at.

    Attributes:
        name: Names the source in the log and in the journal; the same after a restart.

    """

    def __init__(
        self, name: str, locate: Locate, resolve: Resolve, born: Born, *, follow: bool = True
    ) -> None:
        """Prepare only; with *follow*, each read asks *locate* whether a new map has taken the place."""
        self.name = name
        self._locate = locate
        self._resolve = resolve
        self._born = born
        self._follow = follow
        self._maps: list[OpenMap] = []
        self._trouble = ""
        self._distinguished = False
        self._neighbours: Sequence[Source] = ()
        self._written: set[Streams] = set()

    @property
    def info(self) -> bpf.MapInfo:
        """What the kernel says of the present map."""
        return self._maps[-1].info

    @property
    def schema(self) -> Schema:
        """What is made of the present map."""
        return self._maps[-1].schema

    def open(self) -> bpf.MapInfo:
        """Open the map; raise SidecarError if it is not there or cannot be read."""
        fd = self._locate(None)
        assert fd is not None  # noqa: S101  # there is none that it could be the same as
        self._maps = [self._take(fd)]
        self._adopt(self._maps[-1])
        return self.info

    def distinguish(self) -> None:
        """Put the source's name on all its series from now on: another source may have the same ones."""
        for held in self._maps:
            held.schema = self._signed(held.schema)
        self._distinguished = True
        log.info("%s: its series are told from another source's by xdp.source=%s", self.name, self.name)

    def live_with(self, sources: Sequence["Source"]) -> None:
        """Take no map from now on whose series could be mistaken for another's of *sources*."""
        self._neighbours = sources
        self._written = {streams_of(self.schema)}

    def written(self) -> Iterator[tuple[str, Streams]]:
        """Yield the streams that the source has written or may write, each after the source's name."""
        for streams in self._written:
            yield self.name, streams

    def read(self) -> Sequence[Snapshot]:
        """
        Return a snapshot of the map, and before it one of each earlier map that is still held.

        Raises:
            SidecarError: A map could not be read; then nothing is returned.

        """
        if self._follow:
            self._look_for_successor()
        return [held.read() for held in self._maps]

    def release(self, reported: MapIdentity) -> None:
        """Let go of the maps before *reported*: all that they had counted is acknowledged."""
        if any(held.identity == reported for held in self._maps):
            while self._maps[0].identity != reported:
                self._maps.pop(0).close()

    def close(self) -> None:
        """Close everything."""
        while self._maps:
            self._maps.pop().close()

    def _look_for_successor(self) -> None:
        try:
            fd = self._locate(self.info)
            successor = self._maps[-1] if fd is None else self._held(fd) or self._take(fd)
        except SidecarError as error:
            if str(error) != self._trouble:
                log.warning("%s; going on with the map that is open", error)
            self._trouble = str(error)
            return
        self._trouble = ""
        if successor is self._maps[-1]:
            return
        log.warning("%s: map id %d took the place of id %d", self.name, successor.info.id, self.info.id)
        self._maps = [*(held for held in self._maps if held is not successor), successor]
        self._adopt(successor)

    def _held(self, fd: int) -> "OpenMap | None":
        """Return the map of *fd* if it is held already, and close *fd*: each map is read once."""
        map_id = _info(fd).id
        for held in self._maps:
            if held.info.id == map_id:
                os.close(fd)
                if held is not self._maps[-1]:
                    held.schema = self._schema_of(held.info)
                return held
        return None

    def _take(self, fd: int) -> "OpenMap":
        info = _info(fd)
        try:
            return OpenMap(fd, info, self._schema_of(info), self._born(info.id))
        except SidecarError:
            os.close(fd)
            raise

    def _schema_of(self, info: bpf.MapInfo) -> Schema:
        """Return what is made of a map, told from what others write or wrote; raise if it cannot be."""
        schema = self._resolve(info)
        others = [source for source in self._neighbours if source is not self]
        refuse_two_kinds([*((other.name, other.schema) for other in others), (self.name, schema)])
        theirs = (claim for other in others for claim in other.written())
        if self._distinguished or self.name in meeting((*theirs, (self.name, streams_of(schema)))):
            return self._signed(schema)
        return schema

    def _signed(self, schema: Schema) -> Schema:
        return replace(schema, attributes=(*schema.attributes, (SOURCE_ATTRIBUTE, self.name)))

    def _adopt(self, present: "OpenMap") -> None:
        """Stay with what the present map's schema says of us, and say what was chosen for it."""
        if present.schema.attributes[-1:] == ((SOURCE_ATTRIBUTE, self.name),) and not self._distinguished:
            self._distinguished = True
            log.warning(
                "%s: another source has its series too: told from it by xdp.source from now on", self.name
            )
        self._written.add(streams_of(present.schema))
        for text in present.schema.warnings:
            log.warning("%s: %s", self.name, text)
        for text in present.schema.notes:
            log.info("%s: %s", self.name, text)


def _info(fd: int) -> bpf.MapInfo:
    try:
        return bpf.map_info(fd)
    except OSError as error:
        os.close(fd)
        rights, otherwise = "run with CAP_BPF", "name another map"
        raise from_os_error("look at an open map", error, rights=rights, otherwise=otherwise) from error


def boot_id() -> str:
    """Return which boot of the machine this is; raise KernelError if /proc does not tell."""
    try:
        return Path(_BOOT_ID).read_text().strip()
    except OSError as error:
        raise KernelError(f"read {_BOOT_ID}", explain(error), "mount proc at /proc") from error


def tell_apart(sources: Sequence[Source]) -> None:
    """
    Put `xdp.source` on those open sources of which a stream may be another's too, now and from now on.

    OTLP tells streams apart by resource, metric and attributes alone; two writers of one would make nonsense.
    A source that comes to such a stream later, by a new map, gets the attribute then, it alone: the series of
    the others go on under their names.

    Raises:
        ConfigError: A metric is a counter in one source only: Prometheus would show one of the two.

    """
    refuse_two_kinds((source.name, source.schema) for source in sources)
    alike = meeting((source.name, streams_of(source.schema)) for source in sources)
    for source in sources:
        if source.name in alike:
            source.distinguish()
    for source in sources:
        source.live_with(sources)


class OpenMap:
    """A map that is held open: it lives as long as we hold it, whoever else lets go."""

    def __init__(self, fd: int, info: bpf.MapInfo, schema: Schema, counting_since_ns: int) -> None:
        """Take over *fd*; *counting_since_ns* is Unix time."""
        self._fd = fd
        self._counting_since_ns = counting_since_ns
        self.info = info
        self.schema = schema
        self.identity = MapIdentity(
            boot_id=boot_id(),
            map_id=info.id,
            type=info.type,
            key_size=info.key_size,
            value_size=info.value_size,
            max_entries=info.max_entries,
        )

    def read(self) -> Snapshot:
        """Return a snapshot; raise KernelError if the kernel refuses, never a snapshot of zeros."""
        taken_ns, boottime_ns = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        try:
            reading = bpf_reader.read(self._fd, self.info, self.schema)
        except OSError as error:
            raise from_os_error(
                f"read map {self.info.name} (id {self.info.id})",
                error,
                rights="run with CAP_BPF",
                otherwise="nothing is sent for it until it can be read",
            ) from error
        return Snapshot(self.identity, self._counting_since_ns, taken_ns, reading, boottime_ns)

    def close(self) -> None:
        """Let the map go."""
        os.close(self._fd)
