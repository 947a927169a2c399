# SPDX-License-Identifier: Apache-2.0
"""Everything around the sidecar in one frozen value, with the truth that it is measured against."""

from typing import NamedTuple

from tests.model.machine import Disk, Kernel, Map, put
from tests.model.receiver import Collector, Series, points


class StreamTable(NamedTuple):
    """
    What is true, for each source.

    Attributes:
        truth: Packets that the kernel counted.
        lost: How many of them may be missing, by what docs/delivery.md says.
        shown: The most that the Collector served just after an acknowledgement.
        refused: The last verdict on a batch was a refusal, or there was none: no other may lose anything.
        failed_over: Some batches went to another Collector, so neither has all.
        wiped: Somebody took the journal away.
        journal_lost: The sidecar was started without the journal that it had, and has not written another.
        broken: A bound that was broken.

    """

    truth: tuple[int, ...]
    lost: tuple[int, ...]
    shown: tuple[int, ...]
    refused: bool = True
    failed_over: bool = False
    wiped: bool = False
    journal_lost: bool = False
    broken: str = ""

    def may_lose(self, source: int, packets: int) -> "StreamTable":
        return self._replace(lost=put(self.lost, source, self.lost[source] + packets))

    def journal_written(self) -> "StreamTable":
        """Return the ledger after a batch was written: there is a journal again."""
        return self._replace(journal_lost=False, wiped=False)

    def showing(self, collector: Collector) -> "StreamTable":
        """Return the ledger after an acknowledgement."""
        now = (served[1] if served else 0 for served in collector.served)
        return self._replace(shown=tuple(map(max, self.shown, now)))


class Outside(NamedTuple):
    """
    Everything but the process.

    *other* is a Collector that lives as well; *late* is a request on its way that its sender has given up
    waiting for.
    """

    tick: int
    kernel: Kernel
    disk: Disk
    collector: Collector
    prometheus: tuple[Series, ...]
    ledger: StreamTable
    other: Collector
    late: bytes = b""

    def scraped(self) -> "Outside":
        series = tuple(
            one if served is None else one.scraped(served[1])
            for one, served in zip(self.prometheus, self.collector.served, strict=True)
        )
        return self._replace(prometheus=series)

    def counted(self, source: int, packets: int) -> "Outside":
        truth = put(self.ledger.truth, source, self.ledger.truth[source] + packets)
        return self._replace(
            kernel=self.kernel.counted(source, packets), ledger=self.ledger._replace(truth=truth)
        )

    def collector_restarted(self) -> "Outside":
        """State and connections are gone, and with them what was still on its way."""
        nothing = (None,) * len(self.prometheus)
        return self._replace(collector=Collector(nothing, nothing), late=b"")

    def collector_forgot(self) -> "Outside":
        """`max_stale` has passed: the processor does not know the streams, the exporter still serves them."""
        nothing = (None,) * len(self.prometheus)
        return self._replace(collector=self.collector._replace(streams=nothing), late=b"")

    def failed_over(self) -> "Outside":
        """The address leads to the other Collector from now on."""
        ledger = self.ledger._replace(failed_over=True)
        return self._replace(collector=self.other, other=self.collector, ledger=ledger)

    def late_arrived(self) -> "Outside":
        return self._replace(collector=self.collector.taking(points(self.late)), late=b"")

    def buried(self, dead: set[int]) -> "Outside":
        """Maps end that nobody can read any more: what is not in the journal is lost with them."""
        ledger = self.ledger
        for one in self.kernel.maps:
            if one.id in dead:
                ledger = ledger.may_lose(one.source, one.count - one.written)
                if one.written < one.cycled:
                    ledger = ledger._replace(broken=f"more than the last cycle is lost with map {one.id}")
        return self._replace(kernel=self.kernel.without(dead), ledger=ledger)

    def wrong(self, *, settled: bool, value_counts: bool) -> str:
        """Say what is wrong: never too much; and once everything is *settled*, never too little."""
        if self.ledger.broken:
            return self.ledger.broken
        for source, (truth, lost) in enumerate(zip(self.ledger.truth, self.ledger.lost, strict=True)):
            shown = {
                "value": _value(self.collector, source),
                "value of the other": _value(self.other, source),
            }
            if not self.ledger.failed_over:
                shown = {"increase": self.prometheus[source].increase}
                if value_counts:
                    shown["value"] = _value(self.collector, source)
            for name, number in shown.items():
                if number > truth:
                    return f"doubled: {name} {number:#x}, counted {truth:#x}"
                if settled and number < truth - lost and not self.ledger.failed_over:
                    return f"lost: {name} {number:#x}, counted {truth:#x}, of which {lost:#x} may be missing"
        return ""


def _value(collector: Collector, source: int) -> int:
    served = collector.served[source]
    return served[1] if served else 0


def new_world(sources: int, packets: int) -> Outside:
    """Return a world in which each source's map has counted *packets* before any sidecar ran."""
    nothing, knows_nothing = (0,) * sources, Collector((None,) * sources, (None,) * sources)
    maps = tuple(Map(1 + source, source, 0) for source in range(sources))
    ids = tuple(one.id for one in maps)
    outside = Outside(
        0,
        Kernel(1, 0, 0, maps, ids, ids, sources + 1),
        Disk(),
        knows_nothing,
        (Series(),) * sources,
        StreamTable(nothing, nothing, nothing),
        knows_nothing,
    )
    for source in range(sources):
        outside = outside.counted(source, packets)
    return outside
