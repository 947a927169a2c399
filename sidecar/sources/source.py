# SPDX-License-Identifier: Apache-2.0
"""Keep the map of a source open, and follow the source when another map takes its place."""

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
from sidecar.sources.streams import Streams, in_conflict, refuse_two_kinds, streams_of

log = logging.getLogger(__name__)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

Locate = Callable[["bpf.MapInfo | None"], "int | None"]
"""
Open the source's present map, given the one that is open; None: known to be the same map without opening it.

Raises SidecarError if that is not possible.
"""

Resolve = Callable[[bpf.MapInfo], Schema]
"""Return which metrics a map yields; raise SidecarError if it yields none."""

CountingSince = Callable[[int], int]
"""Return since when the map with this id has been counting, Unix ns."""


class Source:
    """
    The map at one place, and those that were there before it until their counts are acknowledged.

    Attributes:
        name: Identifies the source in the log and in the journal; the same after a restart.

    """

    def __init__(
        self,
        name: str,
        locate: Locate,
        resolve: Resolve,
        counting_since_ns: CountingSince,
        *,
        follow: bool = True,
    ) -> None:
        """Open nothing yet; with *follow*, each read asks *locate* for a map that has taken the place."""
        self.name = name
        self._locate = locate
        self._resolve = resolve
        self._counting_since_ns = counting_since_ns
        self._follow = follow
        self._maps: list[OpenMap] = []
        self._last_error = ""
        self._has_attribute = False
        self._neighbours: Sequence[Source] = ()
        self._streams: set[Streams] = set()

    @property
    def info(self) -> bpf.MapInfo:
        """What the kernel knows of the present map."""
        return self._maps[-1].info

    @property
    def schema(self) -> Schema:
        """Which metrics the present map yields."""
        return self._maps[-1].schema

    def open(self, predecessor: "Source | None" = None) -> bpf.MapInfo:
        """
        Open the map; raise SidecarError if it does not exist or cannot be read.

        The maps of a *predecessor*, the same source in another configuration, are held until their counts are
        acknowledged. If the place cannot be opened (any more), its present map is read on.
        """
        self._maps = predecessor.duplicates() if predecessor else []
        fd = self._locate_after(self._maps)
        present = self._maps[-1] if fd is None else self._held(fd) or self._open_map(fd)
        if present in self._maps:
            present.schema = self._schema_of(present.info)
        self._maps = [*(held for held in self._maps if held is not present), present]
        self._switch_to(present)
        return self.info

    def duplicates(self) -> "list[OpenMap]":
        """Return the maps that are open, with descriptors of their own."""
        return [held.duplicate() for held in self._maps]

    def _locate_after(self, held: "Sequence[OpenMap]") -> int | None:
        if held and not self._follow:
            return None
        try:
            return self._locate(None)
        except SidecarError as error:
            if not held:
                raise
            log.warning("%s; continuing with the map that is open", error)
            self._last_error = str(error)
            return None

    def add_source_attribute(self) -> None:
        """Put the source's name on all its series from now on: another source may have the same ones."""
        for held in self._maps:
            held.schema = self._with_attribute(held.schema)
        self._has_attribute = True
        log.info("%s: attribute xdp.source=%s distinguishes its series from another's", self.name, self.name)

    def keep_apart_from(self, sources: Sequence["Source"]) -> None:
        """From now on accept no map whose series could be confused with those of another of *sources*."""
        self._neighbours = sources
        self._streams = {streams_of(self.schema)}

    def claims(self) -> Iterator[tuple[str, Streams]]:
        """Yield the source's name with the streams of each of its schemas, past and present."""
        for streams in self._streams:
            yield self.name, streams

    def read(self) -> Sequence[Snapshot]:
        """
        Return a snapshot of the map, preceded by one of each earlier map that is still held.

        Raises:
            SidecarError: A map could not be read; no snapshot is returned then.

        """
        if self._follow:
            self._check_for_successor()
        return [held.read() for held in self._maps]

    def release(self, reported: MapIdentity) -> None:
        """Close the maps before *reported*: everything that they counted is acknowledged."""
        if any(held.identity == reported for held in self._maps):
            while self._maps[0].identity != reported:
                self._maps.pop(0).close()

    def close(self) -> None:
        """Close all maps; `info` stays what it was: the status endpoint may be asking for it."""
        for held in self._maps:
            held.close()

    def _check_for_successor(self) -> None:
        try:
            fd = self._locate(self.info)
            successor = self._maps[-1] if fd is None else self._held(fd) or self._open_map(fd)
        except SidecarError as error:
            if str(error) != self._last_error:
                log.warning("%s; continuing with the map that is open", error)
            self._last_error = str(error)
            return
        self._last_error = ""
        if successor is self._maps[-1]:
            return
        log.warning("%s: map id %d replaced map id %d", self.name, successor.info.id, self.info.id)
        self._maps = [*(held for held in self._maps if held is not successor), successor]
        self._switch_to(successor)

    def _held(self, fd: int) -> "OpenMap | None":
        """Return the map of *fd* if it is held already, and close *fd*: no map is read twice."""
        map_id = info_of(fd).id
        for held in self._maps:
            if held.info.id == map_id:
                os.close(fd)
                if held is not self._maps[-1]:
                    held.schema = self._schema_of(held.info)
                return held
        return None

    def _open_map(self, fd: int) -> "OpenMap":
        info = info_of(fd)
        try:
            return OpenMap(fd, info, self._schema_of(info), self._counting_since_ns(info.id))
        except SidecarError:
            os.close(fd)
            raise

    def _schema_of(self, info: bpf.MapInfo) -> Schema:
        """Return which metrics a map yields, distinct from all that the neighbours write or wrote."""
        schema = self._resolve(info)
        others = [source for source in self._neighbours if source is not self]
        refuse_two_kinds([*((other.name, other.schema) for other in others), (self.name, schema)])
        claims = [claim for other in others for claim in other.claims()]
        if self._has_attribute or self.name in in_conflict((*claims, (self.name, streams_of(schema)))):
            return self._with_attribute(schema)
        return schema

    def _with_attribute(self, schema: Schema) -> Schema:
        return replace(schema, attributes=(*schema.attributes, (SOURCE_ATTRIBUTE, self.name)))

    def _switch_to(self, present: "OpenMap") -> None:
        """Keep `xdp.source` once a map needed it, and log what was chosen for the present map."""
        if present.schema.attributes[-1:] == ((SOURCE_ATTRIBUTE, self.name),) and not self._has_attribute:
            self._has_attribute = True
            log.warning(
                "%s: another source has the same series: adding attribute xdp.source from now on", self.name
            )
        self._streams.add(streams_of(present.schema))
        for text in present.schema.warnings:
            log.warning("%s: %s", self.name, text)
        for text in present.schema.notes:
            log.info("%s: %s", self.name, text)


def info_of(fd: int) -> bpf.MapInfo:
    """Return what the kernel knows of an open map; if it refuses, close the map and raise SidecarError."""
    try:
        return bpf.map_info(fd)
    except OSError as error:
        os.close(fd)
        rights, otherwise = "run with CAP_BPF", "name another map"
        raise from_os_error("inspect an open map", error, rights=rights, otherwise=otherwise) from error


def boot_id() -> str:
    """Return the id of this boot of the machine; raise KernelError if /proc does not have it."""
    try:
        return Path(_BOOT_ID).read_text().strip()
    except OSError as error:
        raise KernelError(f"read {_BOOT_ID}", explain(error), "mount proc at /proc") from error


class OpenMap:
    """A map that is held open: it exists as long as we hold it, whoever else closes it."""

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
        """Return a snapshot; raise KernelError if the kernel refuses: a failure never looks like zeros."""
        taken_ns, boottime_ns = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        try:
            reading = bpf_reader.read(self._fd, self.info, self.schema)
        except OSError as error:
            raise from_os_error(
                f"read map {self.info.name} (id {self.info.id})",
                error,
                rights="run with CAP_BPF",
                otherwise="nothing is exported for it until it can be read",
            ) from error
        return Snapshot(self.identity, self._counting_since_ns, taken_ns, reading, boottime_ns)

    def duplicate(self) -> "OpenMap":
        """Return the same open map with a descriptor of its own."""
        return OpenMap(os.dup(self._fd), self.info, self.schema, self._counting_since_ns)

    def close(self) -> None:
        """Close the map; do nothing if it is closed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
