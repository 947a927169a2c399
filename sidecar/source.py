# SPDX-License-Identifier: Apache-2.0
"""Keep the map of one source open, and follow it when another map takes its place."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sidecar import bpf_reader, prometheus_names
from sidecar import bpf_syscall as bpf
from sidecar.errors import ConfigError, KernelError, SidecarError, explain, from_os_error
from sidecar.model import Attribute, MapIdentity, Snapshot
from sidecar.schema import SOURCE_ATTRIBUTE, Kind, Schema

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
        return self.info

    def distinguish(self, attribute: Attribute) -> None:
        """Put one more attribute on all series of the source, since another source has the same ones."""
        resolve = self._resolve

        def distinguished(info: bpf.MapInfo) -> Schema:
            schema = resolve(info)
            return replace(schema, attributes=(*schema.attributes, attribute))

        self._resolve = distinguished
        for held in self._maps:
            held.schema = replace(held.schema, attributes=(*held.schema.attributes, attribute))

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

    def _held(self, fd: int) -> "OpenMap | None":
        """Return the map of *fd* if it is held already, and close *fd*: each map is read once."""
        map_id = _info(fd).id
        for held in self._maps:
            if held.info.id == map_id:
                os.close(fd)
                return held
        return None

    def _take(self, fd: int) -> "OpenMap":
        info = _info(fd)
        try:
            return OpenMap(fd, info, self._resolve(info), self._born(info.id))
        except SidecarError:
            os.close(fd)
            raise


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
    Put the attribute `xdp.source` on those open sources whose series would be the same as another's.

    OTLP tells streams apart by resource, metric and attributes alone; two writers of one would make nonsense.

    Raises:
        ConfigError: A metric is a counter in one source only: Prometheus would show one of the two.

    """
    _refuse_two_kinds(sources)
    owners: dict[tuple[str, frozenset[Attribute]], list[Source]] = {}
    for source in sources:
        constant = frozenset(source.schema.attributes)
        for name in {prometheus_names.metric(one.name) for one in source.schema.instruments}:
            owners.setdefault((name, constant), []).append(source)
    alike = {source.name for same in owners.values() if len(same) > 1 for source in same}
    for source in sources:
        if source.name in alike:
            log.info(
                "%s: its series are told from another source's by xdp.source=%s", source.name, source.name
            )
            source.distinguish((SOURCE_ATTRIBUTE, source.name))


def _refuse_two_kinds(sources: Sequence[Source]) -> None:
    first: dict[str, tuple[bool, str]] = {}
    for source in sources:
        for one in source.schema.instruments:
            is_counter = one.kind is Kind.COUNTER
            met, where = first.setdefault(prometheus_names.metric(one.name), (is_counter, source.name))
            if met != is_counter:
                raise ConfigError(
                    f"read {source.name} and {where}",
                    f"metric {one.name!r} is a counter in one of them only: Prometheus would show but one",
                    "give it another name in one of them",
                )


class OpenMap:
    """A map that is held open: it lives as long as we hold it, whoever else lets go."""

    def __init__(self, fd: int, info: bpf.MapInfo, schema: Schema, born_ns: int) -> None:
        """Take over *fd*; *born_ns* is Unix time."""
        self._fd = fd
        self._born_ns = born_ns
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
        taken_ns = time.time_ns()
        try:
            reading = bpf_reader.read(self._fd, self.info, self.schema)
        except OSError as error:
            raise from_os_error(
                f"read map {self.info.name} (id {self.info.id})",
                error,
                rights="run with CAP_BPF",
                otherwise="nothing is sent for it until it can be read",
            ) from error
        return Snapshot(self.identity, self._born_ns, taken_ns, reading)

    def close(self) -> None:
        """Let the map go."""
        os.close(self._fd)
