# SPDX-License-Identifier: Apache-2.0
"""
Watch the programs that fill a map: once the last one is gone, the map keeps its last counts.

To learn which programs use a map takes CAP_SYS_ADMIN, which is dropped after the start where following does
not need it; to learn which XDP program an interface carries takes no capability. So the programs are looked
up when the map is opened, and followed from then on as far as the rights go. What cannot be seen is never
taken for lost: a program of another type or in another network namespace fills the map while it exists, and
a map that still changes is filled by something.
"""

import logging
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from sidecar.errors import KernelError, explain
from sidecar.kernel import netlink
from sidecar.kernel import syscall as bpf
from sidecar.model import Reading

log = logging.getLogger(__name__)

# Looking through all interfaces takes milliseconds where there are hundreds.
_LOOK_EVERY_S = 30.0


class Feeders:
    """The programs that fill one map."""

    def __init__(self, map_id: int) -> None:
        """Look up the programs that use the map now, and the interfaces that carry them."""
        self._map_id = map_id
        self._names = _users(map_id) or {}
        try:
            self._places = _places(self._names)
        except KernelError as error:  # seccomp may forbid rtnetlink
            log.debug("%s", error)
            self._places = {}
        self._looked_at = time.monotonic()
        self._idle: AbstractSet[int] = frozenset()
        # CAP_SYS_ADMIN, once it is dropped, does not come back.
        self._may_look = True
        self._last_fed: Reading | None = None

    def lost(self, reading: Reading) -> str:
        """
        Return how the last program that filled the map was lost; empty if one is left, or none was known.

        *reading* is what the map holds now.
        """
        try:
            if not self._names or self._is_fed() or self._finds_others():
                self._last_fed = None
                return ""
            if self._last_fed is None:
                self._last_fed = reading
            elif self._last_fed != reading:
                self._adopt_successors()
                return ""
            return "; ".join(self._fates())
        except KernelError as error:
            log.debug("%s", error)
            return ""

    def _is_fed(self) -> bool:
        """Return whether a known program still does what it did when it was found."""
        self._look_for_places()
        placed = set(self._places.values())
        return any(
            self._names.keys() & (netlink.programs_on(ifindex) or ()) for ifindex, _ in self._places
        ) or any(self._exists(program) for program in self._names if program not in placed)

    def _exists(self, program: int) -> bool:
        """Return whether a program exists, or may exist."""
        if not self._may_look:
            return True
        try:
            return bpf.prog_info_by_id(program) is not None
        except PermissionError:
            self._may_look = False
        except OSError as error:
            log.debug("cannot look up program %d: %s", program, explain(error))
        return True

    def _look_for_places(self) -> None:
        """Find a program that was attached only after the map was opened; not in each cycle."""
        now = time.monotonic()
        if not self._places and now - self._looked_at >= _LOOK_EVERY_S:
            self._places, self._looked_at = _places(self._names), now

    def _finds_others(self) -> bool:
        """Look for programs that have taken over, on any interface; return whether there are some."""
        users = _users(self._map_id)
        names = self._names if users is None else users
        places = _places(names)
        filling = set(places.values()) | (names.keys() - self._names.keys() - self._idle)
        if not filling:
            return False
        self._names = {program: name for program, name in names.items() if program in filling}
        self._places = places
        # They may be loaded still, but fill nothing until an interface carries them again.
        self._idle = names.keys() - filling
        return True

    def _adopt_successors(self) -> None:
        """Take for the map's own what its interfaces carry now: the map goes on changing."""
        self._places = {
            (ifindex, name): program
            for ifindex, name in self._places
            for program in netlink.programs_on(ifindex) or ()
        }
        self._names = dict.fromkeys(self._places.values(), "")
        self._last_fed = None

    def _fates(self) -> list[str]:
        """Return what became of each interface, or that the programs have ended."""
        if not self._places:
            listed = ", ".join(f"{name} (id {program})" for program, name in self._names.items())
            return [f"no program uses the map any more; it was filled by {listed}"]
        return [
            f"program {self._names[program]} (id {program}) is no longer on {name}: {_present(ifindex)}"
            for (ifindex, name), program in self._places.items()
        ]


def _present(ifindex: int) -> str:
    carried = netlink.programs_on(ifindex)
    if carried is None:
        return "the interface is gone"
    return f"it carries program id {carried[0]}" if carried else "it carries no program"


def _users(map_id: int) -> Mapping[int, str] | None:
    """Return the names of the programs that use a map, by their ids; None if we may not know."""
    try:
        programs = list(bpf.programs())
    except OSError:
        return None
    return {program.id: program.name for program in programs if map_id in program.map_ids}


def _places(programs: Mapping[int, str]) -> Mapping[tuple[int, str], int]:
    """Return which of the XDP programs each interface of this network namespace carries."""
    links = netlink.links() if programs else []
    return {
        (link.ifindex, link.name): program
        for link in links
        for _, program in link.programs
        if program in programs
    }
