# SPDX-License-Identifier: Apache-2.0
"""The ledger: for each scenario the kernel's counts, Prometheus' counts and the allowed difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chaos.counters import ZERO, minus
from demo.tap import FIELDS

_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"


@dataclass(frozen=True)
class Row:
    """
    A comparison.

    Attributes:
        scenario: Its name.
        kernel: The kernel's counts, read by bpftool.
        shown: The counts in Prometheus.
        compared: What is compared in Prometheus: the increase, or increase and value, which must agree.
        bound: How much less Prometheus may show; it may never show more.
        journal_bytes: The largest size of the journal.
        rss_kib: The largest resident size of the sidecar.
        note: Other measurements.
        problems: Faults other than the counts.

    """

    scenario: str
    kernel: Mapping[str, int]
    shown: Mapping[str, int]
    compared: str
    bound: Mapping[str, int] = field(default_factory=lambda: ZERO)
    journal_bytes: int = 0
    rss_kib: int = 0
    note: str = ""
    problems: Sequence[str] = ()

    @property
    def difference(self) -> Mapping[str, int]:
        """Prometheus' counts minus the kernel's."""
        return minus(self.shown, self.kernel)

    def complaints(self) -> list[str]:
        """Return what is wrong, nothing for a row within its bound."""
        difference = self.difference
        beyond = [name for name in FIELDS if not -self.bound[name] <= difference[name] <= 0]
        excess = ", ".join(f"{name} {difference[name]:+,}" for name in beyond)
        wrong = [f"beyond the bound: {excess}"] if beyond else []
        if not self.kernel["total_packets"]:
            wrong.append("no packet was counted")
        return [*wrong, *self.problems]


_COLUMNS = (
    f"{'scenario':<40}{'kernel packets':>15}{'kernel bytes':>15}{'Prometheus p.':>15}{'Prometheus B':>15}"
    f"{'diff p.':>9}{'diff B':>11}{'bound p.':>10}{'bound B':>12}{'journal B':>11}{'RSS KiB':>9}"
    f"  {'compared':<17}verdict"
)


def header() -> str:
    """Return the header line."""
    return _COLUMNS


def line(row: Row, *, colours: bool) -> str:
    """Return *row* as one line, plus one for each complaint and for the note."""
    fine = not row.complaints()
    verdict = ("within bound" if any(row.difference.values()) else "exact") if fine else "WRONG"
    if colours:
        verdict = f"{_GREEN if fine else _RED}{verdict}{_PLAIN}"
    more = "".join(f"\n    {text}" for text in (*row.complaints(), *filter(None, [row.note])))
    return (
        f"{row.scenario:<40}{row.kernel['total_packets']:>15,}{row.kernel['total_bytes']:>15,}"
        f"{row.shown['total_packets']:>15,}{row.shown['total_bytes']:>15,}"
        f"{row.difference['total_packets']:>9,}{row.difference['total_bytes']:>11,}"
        f"{row.bound['total_packets']:>10,}{row.bound['total_bytes']:>12,}"
        f"{row.journal_bytes:>11,}{row.rss_kib:>9,}  {row.compared:<17}{verdict}{more}"
    )
