# SPDX-License-Identifier: Apache-2.0
"""
How often the programs run whose maps are read, and for how long (`--program-stats`).

The kernel counts only while somebody asks it to. It is asked by a descriptor, never by the sysctl
`kernel.bpf_stats_enabled`, so it stops when this process ends, however that happens.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from sidecar.errors import KernelError, from_os_error
from sidecar.kernel import netlink
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy

RIGHTS = frozenset({Capability.SYS_ADMIN})
"""To turn statistics on (kernel/bpf/syscall.c, `bpf_enable_stats`) and to open programs by their ids."""


@dataclass(frozen=True)
class ProgramRuns:
    """
    The runs of one program since this process started.

    Attributes:
        name: Its name, as the kernel cuts it.
        id: Its id.
        interface: The only interface that is known to carry it; empty if none is, or several are.
        runs: How often it ran.
        run_time_ns: How long it ran, ns.

    """

    name: str
    id: int
    interface: str
    runs: int
    run_time_ns: int


Maps = Callable[[], Mapping[int, str]]
"""Return, by the id of each map that is read, the interface that it belongs to, or an empty string."""


class ProgramStats:
    """Counts the runs of programs until it is closed; any thread may read."""

    def __init__(self, maps: Maps) -> None:
        """
        Have the kernel count from now on.

        Raises:
            RightsError: CAP_SYS_ADMIN is missing.
            KernelError: The kernel cannot count by a descriptor: it is older than 5.8.

        """
        self._maps = maps
        self._lock = Lock()
        # By id, which is never reused: the maps of each program there is.
        self._known: dict[int, Collection[int]] = {}
        self._before: Mapping[int, ProgramRuns] = {}
        # What was counted while somebody else had statistics on is not ours.
        self._before = {each.id: each for each in self.read()}
        try:
            self._fd = bpf.enable_stats()
        except OSError as error:
            what, otherwise = "count the runs of programs", "leave out --program-stats: it takes Linux 5.8"
            raise from_os_error(what, error, rights=remedy(*RIGHTS), otherwise=otherwise) from error

    def read(self) -> Sequence[ProgramRuns]:
        """Return the runs of each program that uses a map that is read now; empty if that cannot be known."""
        with self._lock:
            try:
                return [self._since_start(each) for each in self._read(self._maps())]
            except (OSError, KernelError):
                return []

    def close(self) -> None:
        """Have the kernel stop counting, unless somebody else wants it."""
        os.close(self._fd)

    def _read(self, maps: Mapping[int, str]) -> Sequence[ProgramRuns]:
        ids = set(bpf.prog_ids())
        self._known = {each: maps_of for each, maps_of in self._known.items() if each in ids}
        using = [each for each in sorted(ids) if not maps.keys().isdisjoint(self._maps_of(each))]
        found = list(filter(None, map(bpf.prog_info_by_id, using)))
        places = _places({program.id for program in found})
        return [
            ProgramRuns(
                program.name,
                program.id,
                _only(
                    {maps[each] for each in program.map_ids if maps.get(each)}
                    or places.get(program.id, set())
                ),
                program.runs,
                program.run_time_ns,
            )
            for program in found
        ]

    def _maps_of(self, program: int) -> Collection[int]:
        if program not in self._known:
            info = bpf.prog_info_by_id(program)
            self._known[program] = info.map_ids if info else ()
        return self._known[program]

    def _since_start(self, now: ProgramRuns) -> ProgramRuns:
        before = self._before.get(now.id)
        if before is None:
            return now
        return replace(now, runs=now.runs - before.runs, run_time_ns=now.run_time_ns - before.run_time_ns)


def _places(programs: Collection[int]) -> Mapping[int, set[str]]:
    """Return the interfaces of this network namespace that carry each of these XDP programs."""
    places: dict[int, set[str]] = {}
    for link in netlink.links() if programs else []:
        for _, program in link.programs:
            if program in programs:
                places.setdefault(program, set()).add(link.name)
    return places


def _only(names: Collection[str]) -> str:
    return next(iter(names)) if len(names) == 1 else ""
