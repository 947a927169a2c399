# SPDX-License-Identifier: Apache-2.0
"""Collector: the health of the Collectors between the sidecars and Prometheus."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.alerts import threshold
from dashboards.frame import COLLECTOR, choice, dashboard
from dashboards.health import RED
from dashboards.panels import BYTES, EXACT, PER_SECOND, PERCENT, SECONDS, Panel, Query, lines, number
from dashboards.promql import RECENT

CHOSEN = 'job=~"$collector",instance=~"$instance"'
INSTANCE = "{{instance}}"


def collector() -> Dashboard:
    """Return the dashboard of the Collectors' own metrics (:8888)."""
    up = "otelcol_process_uptime"
    return dashboard(
        COLLECTOR,
        "XDP Collector",
        "The health of the Collectors, from their own metrics (:8888).",
        variables=[
            choice("collector", "Job", f"label_values({up}, job)", everything=""),
            choice(
                "instance",
                "Collector",
                f'label_values({up}{{job=~"$collector"}}, instance)',
                everything="",
            ),
        ],
        rows={
            "Now": _now(),
            "Points": _points(),
            "Queue on disk (agents that export to gateways)": _queue(),
            "Resources": _cost(),
        },
    )


def _now() -> list[Panel]:
    return [
        number("Up", "Collectors that answer.", EXACT, f"sum (up{{{CHOSEN}}})", steps=[]),
        number("Down", "Collectors that do not.", EXACT, f"sum (up{{{CHOSEN}}} == bool 0)", steps=RED),
        number(
            "Shortest uptime",
            "A Collector that has just started has lost its state; the base point restores it.",
            SECONDS,
            f"min (otelcol_process_uptime{{{CHOSEN}}})",
        ),
        number("Points in", "Per second.", PER_SECOND, _rate("receiver_accepted_metric_points")),
        number(
            "Refused",
            "Points per second that were not accepted. The sidecar resends them.",
            PER_SECOND,
            _rate("receiver_refused_metric_points"),
            steps=[(0.001, "red")],
        ),
        number("Streams", "Series whose totals are kept.", EXACT, _sum("deltatocumulative_streams_tracked")),
    ]


def _points() -> list[Panel]:
    return [
        lines(
            "Points received",
            "Refused: at the memory limit. Failed: in a later component. The sidecar resends both.",
            PER_SECOND,
            Query(_rate("receiver_accepted_metric_points"), "accepted"),
            Query(_rate("receiver_refused_metric_points"), "refused"),
            Query(_rate("receiver_failed_metric_points"), "failed"),
        ),
        lines(
            "Points added to totals",
            "delta.ErrOutOfOrder: already known, from a resend or a base point that a running Collector does "
            "not need. Points dropped for other reasons are lost.",
            PER_SECOND,
            Query(_rate("deltatocumulative_datapoints", selector='error=""'), "added"),
            Query(_rate("deltatocumulative_datapoints", "error", selector='error!=""'), "dropped: {{error}}"),
        ),
        lines(
            "Points through each processor",
            "In and out.",
            PER_SECOND,
            Query(_rate("processor_incoming_items", "processor"), "into {{processor}}"),
            Query(_rate("processor_outgoing_items", "processor"), "out of {{processor}}"),
        ),
        lines(
            "Points exported",
            "By exporter.",
            PER_SECOND,
            Query(_rate("exporter_sent_metric_points", "exporter"), "{{exporter}}"),
        ),
        lines(
            "Streams",
            "Series whose totals are kept; after a day without points a series is dropped.",
            EXACT,
            Query(_sum("deltatocumulative_streams_tracked", "instance"), INSTANCE),
        ),
        lines(
            "Scrape of the counters",
            "How long Prometheus waits for /metrics. At its timeout, 10 s by default, there are no data.",
            SECONDS,
            Query(
                'max by (job, instance) (scrape_duration_seconds{job=~"xdp|$collector"})',
                "{{job}} {{instance}}",
            ),
            steps=[(threshold("XdpScrapeSlow"), "orange"), (10.0, "red")],
        ),
    ]


def _queue() -> list[Panel]:
    size, capacity = (_sum(f"exporter_queue_{what}", "instance", "exporter") for what in ("size", "capacity"))
    legend = f"{INSTANCE} {{{{exporter}}}}"
    return [
        lines(
            "Requests in the queue",
            "What the gateways have not accepted yet. The 20 longest queues.",
            EXACT,
            Query(f"topk (20, {size})", legend),
        ),
        lines(
            "Queue in use",
            "A full queue makes the sidecar wait; the kernel keeps counting. The 20 fullest.",
            PERCENT,
            Query(f"topk (20, 100 * {size} / {capacity})", legend),
            steps=[(100 * threshold("XdpCollectorQueueFills"), "red")],
        ).max(100),
    ]


def _cost() -> list[Panel]:
    return [
        lines(
            "CPU",
            "As a share of one CPU.",
            PERCENT,
            Query(f"100 * {_rate('process_cpu_seconds', 'instance')}", INSTANCE),
        ),
        lines(
            "Memory",
            "Resident memory, and the heap, to which the memory limit applies.",
            BYTES,
            Query(_sum("process_memory_rss", "instance"), f"{INSTANCE} resident"),
            Query(_sum("process_runtime_heap_alloc_bytes", "instance"), f"{INSTANCE} heap"),
        ),
    ]


def _rate(metric: str, *by: str, selector: str = "") -> str:
    grouping = f" by ({', '.join(by)})" if by else ""
    extra = f",{selector}" if selector else ""
    return f"sum{grouping} (rate(otelcol_{metric}{{{CHOSEN}{extra}}}{RECENT}))"


def _sum(metric: str, *by: str) -> str:
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} (otelcol_{metric}{{{CHOSEN}}})"
