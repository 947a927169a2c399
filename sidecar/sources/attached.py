# SPDX-License-Identifier: Apache-2.0
"""
Find a map by its name among those of the programs on an interface, which are left as they are.

That tells apart maps of one name, one for each interface, as `ip link` and xdp-loader make them without pins.
Opening programs and maps by id takes CAP_SYS_ADMIN (kernel/bpf/syscall.c, `bpf_prog_get_fd_by_id`).
"""

import os
from collections.abc import Iterator

from sidecar.errors import SourceError, from_os_error
from sidecar.kernel import dispatcher, netlink, netns, uapi
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.kernel.interface import Interface, index_of
from sidecar.suggest import did_you_mean

_HOOKS = (uapi.ATTACH_TCX_INGRESS, uapi.ATTACH_TCX_EGRESS)


class AttachedMap:
    """The map of one name that a program at an XDP or TCX hook of an interface uses."""

    def __init__(self, interface: Interface, name: str) -> None:
        """Look at nothing yet."""
        self._interface = interface
        # The kernel keeps 15 bytes of a name.
        self._name = os.fsencode(name)[: uapi.OBJ_NAME_LEN - 1].decode(errors="replace")
        self._what = f"find map {name} of the programs on {interface}"
        self._last: tuple[int, tuple[int, ...]] | None = None

    def open(self, present: bpf.MapInfo | None) -> int | None:
        """
        Return the map, or None if the interface still carries the programs that *present* was found by.

        Raises:
            SourceError: There is no such interface, or not exactly one such map.
            RightsError: CAP_SYS_ADMIN is missing.

        """
        with netns.entered(self._interface.netns):
            ifindex = index_of(self._interface, self._what)
            programs = tuple(_programs_on(ifindex))
            if present and self._last == (present.id, programs):
                return None
        try:
            maps = {info.id: info for number in programs for info in self._maps_of(ifindex, number)}
            found = [info for info in maps.values() if info.name == self._name]
            if len(found) != 1:
                raise self._refused(programs, list(maps.values()), found)
            fd = bpf.map_fd_by_id(found[0].id)
        except FileNotFoundError:
            raise SourceError(self._what, "it has just been replaced", "try again") from None
        except OSError as error:
            rights = f"{remedy(Capability.SYS_ADMIN)}; or pin the map for --map-path"
            raise from_os_error(
                self._what, error, rights=rights, otherwise="`xdp-otel discover` lists them"
            ) from error
        self._last = found[0].id, programs
        return fd

    def _maps_of(self, ifindex: int, program: int) -> Iterator[bpf.MapInfo]:
        for number in (program, *dispatcher.called_by(program, ifindex)):
            info = bpf.prog_info_by_id(number)
            yield from filter(None, map(bpf.map_info_by_id, info.map_ids if info else ()))

    def _refused(
        self, programs: tuple[int, ...], maps: list[bpf.MapInfo], found: list[bpf.MapInfo]
    ) -> SourceError:
        if not programs:
            how = "`xdp-otel discover` shows what each interface carries"
            return SourceError(self._what, "it carries no XDP or TCX program", how)
        if found:
            listed = ", ".join(f"id {info.id} ({info.kind.name})" for info in found)
            cause = f"{len(found)} maps of them have that name: {listed}"
            return SourceError(self._what, cause, "choose one by its pin or its id")
        names = [info.name for info in maps if info.name]
        how = f"they use {', '.join(names)}" if names else "they use no map"
        return SourceError(self._what, "none of them uses such a map", did_you_mean(self._name, names, how))


def _programs_on(ifindex: int) -> Iterator[int]:
    """Yield the programs of an interface of this network namespace; those of TCX as far as we may know."""
    yield from netlink.programs_on(ifindex) or ()
    for hook in _HOOKS:
        try:
            yield from bpf.tcx_prog_ids(ifindex, hook)
        except OSError:
            continue  # no such right, or a kernel before 6.6
