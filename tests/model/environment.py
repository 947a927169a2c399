# SPDX-License-Identifier: Apache-2.0
"""Everything around the sidecar in one frozen value, and the counts that it must report."""

from typing import NamedTuple

from tests.model.machine import Disk, Kernel, Map, put
from tests.model.receiver import Collector, Series, points


class Expected(NamedTuple):
    """
    The counts that must be reported, for each source.

    Attributes:
        truth: Packets that the kernel counted.
        lost: How many of them may be missing according to docs/delivery.md.
        shown: The most that the Collector served right after an acknowledgement.
        refused: Whether the last completed batch was refused, or there is none: no further batch may be lost.
        failed_over: Whether some batches went to another Collector, so neither has all.
        wiped: Whether the journal was removed or damaged.
        journal_lost: Whether the sidecar started without its journal and has not written another one.
        broken: The bound that was broken, if any.

    """

    truth: tuple[int, ...]
    lost: tuple[int, ...]
    shown: tuple[int, ...]
    refused: bool = True
    failed_over: bool = False
    wiped: bool = False
    journal_lost: bool = False
    broken: str = ""

    def may_lose(self, source: int, packets: int) -> "Expected":
        return self._replace(lost=put(self.lost, source, self.lost[source] + packets))

    def journal_written(self) -> "Expected":
        """Return the counts expected after a commit: there is a journal again."""
        return self._replace(journal_lost=False, wiped=False)

    def showing(self, collector: Collector) -> "Expected":
        """Return the counts expected after an acknowledgement."""
        values = (served[1] if served else 0 for served in collector.served)
        return self._replace(shown=tuple(map(max, self.shown, values)))


class Environment(NamedTuple):
    """
    Everything but the process.

    *other* is a second Collector; *late* is a request under way whose sender has stopped waiting for it.
    """

    tick: int
    kernel: Kernel
    disk: Disk
    collector: Collector
    prometheus: tuple[Series, ...]
    expected: Expected
    other: Collector
    late: bytes = b""

    def scraped(self) -> "Environment":
        prometheus = tuple(
            series if served is None else series.scraped(served[1])
            for series, served in zip(self.prometheus, self.collector.served, strict=True)
        )
        return self._replace(prometheus=prometheus)

    def counted(self, source: int, packets: int) -> "Environment":
        truth = put(self.expected.truth, source, self.expected.truth[source] + packets)
        return self._replace(
            kernel=self.kernel.counted(source, packets), expected=self.expected._replace(truth=truth)
        )

    def collector_restarted(self) -> "Environment":
        """Return the environment after a restart, which loses state, connections and requests under way."""
        nothing = (None,) * len(self.prometheus)
        return self._replace(collector=Collector(nothing, nothing), late=b"")

    def collector_forgot(self) -> "Environment":
        """Return the environment after `max_stale`: the processor, not the exporter, forgot the streams."""
        nothing = (None,) * len(self.prometheus)
        return self._replace(collector=self.collector._replace(streams=nothing), late=b"")

    def failed_over(self) -> "Environment":
        """Return the environment in which the address leads to the other Collector."""
        expected = self.expected._replace(failed_over=True)
        return self._replace(collector=self.other, other=self.collector, expected=expected)

    def late_arrived(self) -> "Environment":
        return self._replace(collector=self.collector.taking(points(self.late)), late=b"")

    def freed(self, dead: set[int]) -> "Environment":
        """Return the environment without maps that can no longer be read; counts not journaled are lost."""
        expected = self.expected
        for held in self.kernel.maps:
            if held.id in dead:
                expected = expected.may_lose(held.source, held.count - held.written)
                if held.written < held.cycled:
                    expected = expected._replace(
                        broken=f"more than the last cycle is lost with map {held.id}"
                    )
        return self._replace(kernel=self.kernel.without(dead), expected=expected)

    def violation(self, *, settled: bool, value_counts: bool) -> str:
        """Return what is violated, or "": never too much is shown and, once *settled*, never too little."""
        if self.expected.broken:
            return self.expected.broken
        for source, (truth, lost) in enumerate(zip(self.expected.truth, self.expected.lost, strict=True)):
            shown = {
                "value": _value(self.collector, source),
                "value of the other": _value(self.other, source),
            }
            if not self.expected.failed_over:
                shown = {"increase": self.prometheus[source].increase}
                if value_counts:
                    shown["value"] = _value(self.collector, source)
            for name, number in shown.items():
                if number > truth:
                    return f"doubled: {name} {number:#x}, counted {truth:#x}"
                if settled and number < truth - lost and not self.expected.failed_over:
                    return f"lost: {name} {number:#x}, counted {truth:#x}, of which {lost:#x} may be missing"
        return ""


def _value(collector: Collector, source: int) -> int:
    served = collector.served[source]
    return served[1] if served else 0


def new_environment(sources: int, packets: int) -> Environment:
    """Return an environment in which each source's map counted *packets* before any sidecar ran."""
    nothing, knows_nothing = (0,) * sources, Collector((None,) * sources, (None,) * sources)
    maps = tuple(Map(1 + source, source, 0) for source in range(sources))
    ids = tuple(held.id for held in maps)
    environment = Environment(
        0,
        Kernel(1, 0, 0, maps, ids, ids, sources + 1),
        Disk(),
        knows_nothing,
        (Series(),) * sources,
        Expected(nothing, nothing, nothing),
        knows_nothing,
    )
    for source in range(sources):
        environment = environment.counted(source, packets)
    return environment
