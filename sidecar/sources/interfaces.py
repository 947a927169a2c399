# SPDX-License-Identifier: Apache-2.0
"""
The interfaces that a shell pattern, or `auto`, stands for.

An interface is chosen by the name under which it is first seen, which its series keep while it exists in
the network namespace, also if it is renamed or loses its default route: its program goes on counting, and
under another name there would be a moment in which nothing is counted. The pins have that name, so a restart
finds it again.
"""

import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from sidecar.describe.spec import SourceSpec
from sidecar.kernel import netlink, netns, xdp
from sidecar.kernel.interface import AUTO, GONE, Interface, interfaces_with_pins
from sidecar.sources.pattern import Pattern

log = logging.getLogger(__name__)

# Messages that were lost are noticed (ENOBUFS); this is for what nobody thought of.
_RESYNC_S = 30.0


class Interfaces(Pattern):
    """The interfaces of one network namespace, in one direction, by a pattern; never the loopback."""

    def __init__(self, spec: SourceSpec) -> None:
        """Look at nothing yet."""
        super().__init__(spec)
        self._changes: netlink.Changes | None = None
        self._next_look = 0.0
        # The name of each interface that was chosen, by index.
        self._chosen: dict[int, str] = {}

    @property
    def fd(self) -> int | None:
        """The socket that receives the kernel's messages about interfaces and routes."""
        return self._changes.fd if self._changes else None

    def is_due(self) -> bool:
        """Return whether an interface or a route changed, or none did for half a minute."""
        changed = self._changes is not None and self._changes.take()
        return changed or time.monotonic() >= self._next_look

    def members(self) -> Sequence[SourceSpec]:
        """Return the interfaces that exist now; none if there is no such network namespace."""
        self._next_look = time.monotonic() + _RESYNC_S
        place = self.spec.map_ref.netns
        if not netns.exists(place):
            self._chosen.clear()
            self.close()
            return ()
        with netns.entered(place):
            # First listen, then look, so that nothing happens in between.
            self._changes = self._changes or netlink.Changes()
            links = {link.ifindex: link for link in netlink.links() if not link.is_loopback}
            routed = netlink.default_routes() if self.spec.map_ref.value == AUTO else set()
            self._chosen = {index: name for index, name in self._chosen.items() if index in links}
            unknown = links.keys() - self._chosen.keys()
            if unknown:
                held = self._held()
                for index in sorted(unknown):
                    name = held.get(index) or _free_name(links[index], held, self._chosen)
                    if self._is_meant(name, is_routed=index in routed):
                        self._chosen[index] = name
        return [self._member(name, index) for index, name in self._chosen.items()]

    def left_behind(self) -> Sequence[SourceSpec]:
        """Return the interfaces that are gone, and whose map is still pinned."""
        names = set(self._chosen.values())
        if netns.exists(self.spec.map_ref.netns):
            with netns.entered(self.spec.map_ref.netns):
                names |= {name for _, name in socket.if_nameindex()}
        return [
            self._member(interface.name, GONE)
            for interface in self._pinned()
            if interface.name not in names
            and self._is_meant(interface.name, is_routed=True)
            and xdp.is_left_behind(interface)
        ]

    def ended(self, member: SourceSpec) -> None:
        """Detach: an interface that moved to another network namespace counts on there."""
        xdp.detach_gone(self._interface(member))

    def delivered(self, member: SourceSpec) -> bool:
        """Remove the pins, and so the map."""
        xdp.forget_gone(self._interface(member))
        return True

    def close(self) -> None:
        """Stop listening."""
        changes, self._changes = self._changes, None
        if changes:
            changes.close()

    def _is_meant(self, name: str, *, is_routed: bool) -> bool:
        if any(fnmatchcase(name, pattern) for pattern in self.spec.exclude):
            return False
        pattern = self.spec.map_ref.value
        return is_routed if pattern == AUTO else fnmatchcase(name, pattern)

    def _member(self, name: str, index: int) -> SourceSpec:
        return replace(self.spec, map_ref=replace(self.spec.map_ref, value=name, index=index))

    def _interface(self, member: SourceSpec) -> Interface:
        map_ref = member.map_ref
        return Interface(map_ref.value, map_ref.netns, map_ref.direction, counted=map_ref.counted)

    def _pinned(self) -> Sequence[Interface]:
        """Return the interfaces of this network namespace and direction that have a directory of pins."""
        place = self.spec.map_ref
        return [
            replace(each, direction=place.direction, counted=place.counted)
            for each in interfaces_with_pins()
            if each.netns == place.netns
        ]

    def _held(self) -> dict[int, str]:
        """Return under which name each interface of this network namespace counts already, by index."""
        held: dict[int, str] = {}
        for interface in self._pinned():
            for each in interface.in_both_directions:
                if index := xdp.counting_on(each):
                    held[index] = interface.name
        return held


def _free_name(link: netlink.Link, *taken: dict[int, str]) -> str:
    """Return the interface's name; with its index if another one, renamed since, still counts under it."""
    if any(name == link.name for names in taken for name in names.values()):
        return f"{link.name}#{link.ifindex}"
    return link.name
