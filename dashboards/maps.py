# SPDX-License-Identifier: Apache-2.0
"""Maps: any metric of any map, by any of its labels."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards.frame import MAPS, dashboard, jobs, nodes, single
from dashboards.panels import EXACT, PER_SECOND, Column, Panel, Query, lines, number, ranking, rows
from dashboards.promql import MAP_METRICS, NODE, RECENT, SELECTED, summed

METRIC = f"$metric{{{SELECTED}}}"
GROWTH = f"rate({METRIC}{RECENT})"


def maps() -> Dashboard:
    """Return the dashboard for maps without a dedicated profile."""
    return dashboard(
        MAPS,
        "XDP maps",
        "Any metric of any map, by one of its labels.",
        variables=[
            jobs(),
            nodes(),
            single("metric", "Metric", f"label_values({MAP_METRICS}, __name__)"),
            single("label", "By", "label_names($metric)").regex("/^(?!__name__$|job$).*/"),
        ],
        rows={"Growth (counters)": _growth(), "Value (counters and gauges)": _value()},
    )


def _growth() -> list[Panel]:
    return [
        number("$metric", "Growth per second, sum of all.", PER_SECOND, summed(GROWTH), width=6),
        lines(
            "$metric by $label",
            "Growth per second. The 20 largest at each point in time.",
            PER_SECOND,
            Query(f"topk (20, {summed(GROWTH, '$label')})", "{{$label}}"),
            width=18,
        ),
        lines(
            "$metric by node",
            "Growth per second. The 20 largest at each point in time.",
            PER_SECOND,
            Query(f"topk (20, {summed(GROWTH, NODE)})", "{{host_name}}"),
        ),
        ranking(
            "Top $label",
            "Growth per second. The 10 largest.",
            PER_SECOND,
            Query(f"sort_desc (topk (10, {summed(GROWTH, '$label')}))", "{{$label}}"),
        ),
    ]


def _value() -> list[Panel]:
    return [
        lines(
            "$metric by $label: value",
            "The counter or gauge itself. The 20 largest at each point in time.",
            units.Short,
            Query(f"topk (20, {summed(METRIC, '$label')})", "{{$label}}"),
        ),
        rows(
            "$metric by node and $label: value",
            "As of the end of the time range, exact. The 200 largest.",
            {NODE: "Node"},
            [Column("Value", f"topk (200, {summed(METRIC, NODE, '$label')})", EXACT)],
            width=12,
        ),
        number("Series", "Number of series of the metric.", EXACT, f"count ({METRIC})", width=6),
    ]
