# SPDX-License-Identifier: Apache-2.0
"""The comparison as text: a table, and a line that tells whether all agree."""

from demo.comparison import Row
from sidecar.kernel.interface import Interface

_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"


def table(place: Interface, rows: list[Row], *, colours: bool) -> str:
    """Return *rows* as text with aligned columns, under what they count."""
    lines = [
        f"{place.name} {place.direction}s",
        f"{'metric':<21}{'generator sent':>16}{'kernel counted':>16}{'Prometheus says':>17}  verdict",
    ]
    for row in rows:
        answer = "nothing" if row.prometheus is None else f"{row.prometheus:,}"
        verdict = "agree" if row.agrees else "DIFFER"
        if colours:
            verdict = f"{_GREEN if row.agrees else _RED}{verdict}{_PLAIN}"
        lines.append(f"{row.metric:<21}{row.sent:>16,}{row.kernel:>16,}{answer:>17}  {verdict}")
    return "\n".join(lines)


def conclusion(rows: list[Row], *, seconds: float, dropped: int) -> str:
    """Return the conclusion: all agree, or which metrics differ; *dropped* frames explain a difference."""
    packets, size = rows[0], rows[1]
    if all(row.agrees for row in rows):
        return f"All agree: {packets.sent:,} packets, {size.sent:,} bytes, in {seconds:.1f} s."
    differing = ", ".join(dict.fromkeys(row.metric for row in rows if not row.agrees))
    cause = (
        f"the veth pair dropped {dropped:,} frames: reduce the load of the host"
        if dropped
        else "see the table"
    )
    return f"NOT all agree after {seconds:.1f} s: {differing}: {cause}"
