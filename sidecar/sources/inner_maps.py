# SPDX-License-Identifier: Apache-2.0
"""
The maps inside a map of maps: one source for each key of the outer map.

User space looks up the id of an inner map (kernel/bpf/map_in_map.c, `bpf_map_fd_sys_lookup_elem`), and to
open a map by its id takes CAP_SYS_ADMIN. An inner map that is held open outlives its removal from the outer
map, which waits until no program uses it any more (kernel/bpf/syscall.c, `maybe_wait_bpf_programs`): what is
read of it afterwards is all that it counted.
"""

import os
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

from sidecar import bpf_reader
from sidecar.describe.outer import label_of
from sidecar.describe.shape import Shape
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SourceError, from_os_error
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.sources.pattern import Pattern
from sidecar.sources.source import Locate, info_of

ShapeOf = Callable[[bpf.MapInfo], tuple[Shape | None, str]]
"""From a map to its shape by BTF, and why its BTF is unusable."""

_ID_BYTES = 4
_NATIVE = sys.byteorder
# An inner map may be replaced between looking up its id and opening it.
_TRIES = 5


class OuterMap:
    """
    A map of maps, open until nothing refers to it.

    Attributes:
        info: What the kernel knows of it.

    """

    def __init__(self, locate: Locate) -> None:
        """Open it; raise SidecarError if that is not possible."""
        self._locate = locate
        fd = locate(None)
        assert fd is not None  # noqa: S101  # only None if it was open
        self._hold(fd)
        # All its maps have the same fields: the kernel compares their sizes (`bpf_map_meta_equal`).
        self._shape: Shape | None = None

    def follow(self) -> None:
        """Open the map that has taken its place, if one has; raise SidecarError if that is unknown."""
        fd = self._locate(self.info)
        if fd is not None:
            self._close()
            self._hold(fd)

    def keys(self) -> Sequence[bytes]:
        """Return the keys that hold a map; raise OSError if the kernel refuses."""
        return sorted(bpf_reader.entries(self._fd, self.info))

    def opener(self, key: bytes) -> Locate:
        """Return what opens the map under a key."""

        def locate(present: bpf.MapInfo | None) -> int | None:
            for _ in range(_TRIES):
                try:
                    number = int.from_bytes(bpf.map_lookup(self._fd, key, _ID_BYTES), _NATIVE)
                    return None if present and present.id == number else bpf.map_fd_by_id(number)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise self.refused(error) from error
            raise SourceError(self._what, "there is no map under that key", "put one there, or wait")

        return locate

    def shape(self, info: bpf.MapInfo, by_btf: ShapeOf) -> tuple[Shape | None, str]:
        """Return the shape of an inner map; if it has no BTF, as those made at run time, that of another."""
        found, unusable = by_btf(info)
        if found is None and not info.btf_value_type_id and self._shape:
            known = self._shape
            fits = (known.key_size, known.value_size) == (info.key_size, info.value_size)
            return (known if fits else None), unusable
        self._shape = found or self._shape
        return found, unusable

    def refused(self, error: OSError) -> Exception:
        """Return the error for one of the kernel's."""
        rights, otherwise = remedy(Capability.SYS_ADMIN), "name the maps inside, each by its pin"
        return from_os_error(self._what, error, rights=f"{rights}; or {otherwise}", otherwise=otherwise)

    def _hold(self, fd: int) -> None:
        self._fd, self.info = fd, info_of(fd)
        self._what = f"read the maps inside {self.info.name} (id {self.info.id})"
        self._close = weakref.finalize(self, os.close, fd)


class InnerMaps(Pattern):
    """The maps inside one, by their keys."""

    def __init__(self, spec: SourceSpec, outer: OuterMap) -> None:
        """Take the open outer map; raise ConfigError if its key is not what the specification says."""
        super().__init__(spec)
        self._outer = outer
        self._label = label_of(spec.outer, outer.info)

    @property
    def places(self) -> Sequence[SourceSpec]:
        """The outer map, and any map inside it."""
        return (self.spec, self._member(b""))

    def members(self) -> Sequence[SourceSpec]:
        """Return the maps that are inside now."""
        self._outer.follow()
        try:
            keys = self._outer.keys()
        except OSError as error:
            raise self._outer.refused(error) from error
        return [self._with_attributes(self._member(key), key) for key in keys]

    def _member(self, key: bytes) -> SourceSpec:
        return replace(self.spec, map_ref=MapRef("inner", key.hex(), outer=self.spec.map_ref), outer=None)

    def _with_attributes(self, member: SourceSpec, key: bytes) -> SourceSpec:
        chosen = dict(self.spec.attributes)
        found = (attribute for attribute in self._label(key) if attribute[0] not in chosen)
        return replace(member, attributes=(*self.spec.attributes, *found))
