# SPDX-License-Identifier: Apache-2.0
"""Keep the map of a source open, and follow the source when another map takes its place."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar import bpf_reader
from sidecar.counts import fields
from sidecar.errors import KernelError, SidecarError, explain, from_os_error
from sidecar.kernel import syscall as bpf
from sidecar.log_fields import about
from sidecar.model import MapIdentity, Snapshot
from sidecar.schema import SOURCE_ATTRIBUTE, Schema
from sidecar.sources.feeders import Feeders
from sidecar.sources.streams import Streams, in_conflict, refuse_two_kinds, streams_of

log = logging.getLogger(__name__)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"

Locate = Callable[["bpf.MapInfo | None"], "int | None"]
"""
Open the source's present map, given the one that is open; None: known to be the same map without opening it.

Raises SidecarError if that is not possible.
"""

Resolve = Callable[[bpf.MapInfo, "Schema | None"], Schema]
"""
Return which metrics a map yields, given what the map before it in the same place yielded, if there was one.

Raises SidecarError if it yields none.
"""

CountingSince = Callable[[int], int]
"""Return since when the map with this id has been counting, Unix ns."""

Watch = Callable[[int], Feeders]
"""Return the programs that fill the map with this id."""


class Source:
    """
    The map at one place, and those that were there before it until their counts are acknowledged.

    It is *stale* as long as it does not read, or not in full, what stands at its place and goes on counting.
    What it reads then is still exact, and is sent.

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
        watch: Watch | None = None,
        apart: bool = False,
    ) -> None:
        """
        Open nothing yet.

        With *follow*, each read asks *locate* for a map that has taken the place; with *watch*, it looks at
        the programs that fill the map. With *apart*, its series carry its name from the beginning.
        """
        self.name = name
        self._locate = locate
        self._resolve = resolve
        self._counting_since_ns = counting_since_ns
        self._follow = follow
        self._maps: list[OpenMap] = []
        self._schema: Schema
        self._watch = watch
        self.stale = ""
        """Why the source is stale as of the last read, on one line; empty if it is not."""
        # What was asked for, as far as it fitted the last map that it fitted in full.
        self._whole: Schema | None = None
        self._has_attribute = apart
        self._neighbours: Sequence[Source] = ()
        self._streams: set[Streams] = set()

    @property
    def info(self) -> bpf.MapInfo:
        """What the kernel knows of the present map."""
        return self._maps[-1].info

    @property
    def map_fd(self) -> int:
        """The descriptor of the present map, which the source closes."""
        return self._maps[-1].fd

    @property
    def schema(self) -> Schema:
        """What the last reading yields: metrics of the present map, and sums that only earlier maps had."""
        return self._schema

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
            log.warning("%s; continuing with the map that is open", error, extra=about(self.name))
            return None

    def add_source_attribute(self) -> None:
        """Put the source's name on all its series from now on: another source may have the same ones."""
        for held in self._maps:
            held.schema = self._with_attribute(held.schema)
        self._schema = self._schema_of_all()
        self._has_attribute = True
        text = "attribute xdp.source=%s distinguishes its series from another's"
        log.info(text, self.name, extra=about(self.name))

    def retire(self) -> None:
        """From now on read only the maps that are held: nothing stands at the source's place any more."""
        self._follow = False

    def join(self, sources: Sequence["Source"]) -> None:
        """Take note of the other sources that are open now; their past streams stay claimed."""
        self._neighbours = sources

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
        refused = self._follow_successor() if self._follow else ""
        *older, newest = (held.read() for held in self._maps)
        present = self._maps[-1]
        self.stale = refused or present.schema.unfit or present.lost_feeders(newest)
        # Not before: it belongs to the snapshots, also if earlier maps are released meanwhile.
        self._schema = self._schema_of_all()
        if not older:
            return [newest]
        reading = fields.with_lost_fields(newest.reading, (snapshot.reading for snapshot in older))
        return [*older, replace(newest, reading=reading)]

    def release(self, reported: MapIdentity) -> None:
        """Close the maps before *reported*: everything that they counted is acknowledged."""
        if any(held.identity == reported for held in self._maps):
            while self._maps[0].identity != reported:
                self._maps.pop(0).close()

    def close(self) -> None:
        """Close all maps; `info` stays what it was: the status endpoint may be asking for it."""
        for held in self._maps:
            held.close()

    def _follow_successor(self) -> str:
        """Switch to the map that stands at the place; return why that is not possible, or an empty string."""
        try:
            fd = self._locate(self.info)
            successor = self._maps[-1] if fd is None else self._held(fd) or self._open_map(fd)
        except SidecarError as error:
            return f"{error}; continuing with the map that is open, id {self.info.id}"
        if successor is self._maps[-1]:
            return ""
        log.warning("map id %d replaced map id %d", successor.info.id, self.info.id, extra=about(self.name))
        self._maps = [*(held for held in self._maps if held is not successor), successor]
        self._switch_to(successor)
        return ""

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
            feeders = self._watch(info.id) if self._watch else None
            return OpenMap(fd, info, self._schema_of(info), self._counting_since_ns(info.id), feeders)
        except SidecarError:
            os.close(fd)
            raise

    def _schema_of(self, info: bpf.MapInfo) -> Schema:
        """Return which metrics a map yields, distinct from all that the neighbours write or wrote."""
        schema = self._resolve(info, self._whole)
        others = [source for source in self._neighbours if source is not self]
        refuse_two_kinds([*((other.name, other.schema) for other in others), (self.name, schema)])
        claims = [claim for other in others for claim in other.claims()]
        if self._has_attribute or self.name in in_conflict((*claims, (self.name, streams_of(schema)))):
            return self._with_attribute(schema)
        return schema

    def _schema_of_all(self) -> Schema:
        schema = self._maps[-1].schema
        for held in self._maps[:-1]:
            schema = schema.with_lost_sums(held.schema)
        return schema

    def _with_attribute(self, schema: Schema) -> Schema:
        return replace(schema, attributes=(*schema.attributes, (SOURCE_ATTRIBUTE, self.name)))

    def _switch_to(self, present: "OpenMap") -> None:
        """Keep `xdp.source` once a map needed it, and log what was chosen for the present map."""
        if present.schema.attributes[-1:] == ((SOURCE_ATTRIBUTE, self.name),) and not self._has_attribute:
            self._has_attribute = True
            log.warning(
                "another source has the same series: adding attribute xdp.source from now on",
                extra=about(self.name),
            )
        self._schema = self._schema_of_all()
        self._streams.add(streams_of(self.schema))
        if not present.schema.unfit:
            self._whole = present.schema
        for text in present.schema.warnings:
            log.warning("%s", text, extra=about(self.name))
        for text in present.schema.notes:
            log.info("%s", text, extra=about(self.name))


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
    """A map that is held open: it exists as long as we hold it, even if all others close it."""

    def __init__(
        self,
        fd: int,
        info: bpf.MapInfo,
        schema: Schema,
        counting_since_ns: int,
        feeders: Feeders | None = None,
    ) -> None:
        """Take over *fd*; *counting_since_ns* is Unix time."""
        self.fd = fd
        self._feeders = feeders
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
            reading = bpf_reader.read(self.fd, self.info, self.schema)
        except OSError as error:
            raise from_os_error(
                f"read map {self.info.name} (id {self.info.id})",
                error,
                rights="run with CAP_BPF",
                otherwise="nothing is exported for it until it can be read",
            ) from error
        return Snapshot(self.identity, self._counting_since_ns, taken_ns, reading, boottime_ns)

    def lost_feeders(self, snapshot: Snapshot) -> str:
        """Return how the last program that filled the map was lost; empty if it was not."""
        return self._feeders.lost(snapshot.reading) if self._feeders else ""

    def duplicate(self) -> "OpenMap":
        """Return the same open map with a descriptor of its own."""
        return OpenMap(os.dup(self.fd), self.info, self.schema, self._counting_since_ns, self._feeders)

    def close(self) -> None:
        """Close the map; do nothing if it is closed."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
