# SPDX-License-Identifier: Apache-2.0
"""Prometheus: its scrape configuration, and queries."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from demo.errors import DemoError
from demo.ports import Ports
from demo.tap import FIELDS

METRICS = {
    "total_packets": "xdp_xdp_packets_total",
    "total_bytes": "xdp_xdp_bytes_total",
    "icmp_packets": "xdp_xdp_packets_icmp",
    "tcp_packets": "xdp_xdp_packets_tcp",
    "udp_packets": "xdp_xdp_packets_udp",
    "other_packets": "xdp_xdp_packets_other",
    "ipv4_packets": "xdp_xdp_packets_ipv4",
    "ipv6_packets": "xdp_xdp_packets_ipv6",
}
"""The counter in Prometheus of each field of `struct pkt_stats`."""

RATE = "xdp_xdp_packets_rate"
"""The name of the gauge: packets per second over the sidecar's last interval."""

# Everything here is on this host: a proxy of the environment must not get between.
_FETCH_TIMEOUT_S = 30
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def config(ports: Ports) -> str:
    """Return a configuration (JSON, which is YAML) that scrapes the Collector each second."""
    scrape = {
        "job_name": "collector",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        # job and instance are the sidecar's, not the Collector's: service.name and service.instance.id.
        "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{ports.metrics}"]}],
    }
    return json.dumps({"scrape_configs": [scrape]})


def answers(url: str) -> bool:
    """Return whether a GET of *url* returns 200 within a second."""
    try:
        with _OPENER.open(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def fetch(url: str) -> str:
    """Return what a GET of *url* is answered with; raise OSError if it is not."""
    with _OPENER.open(url, timeout=_FETCH_TIMEOUT_S) as response:
        return str(response.read().decode())


def rate(interface: str) -> str:
    """Return the PromQL of the gauge for *interface*."""
    return f'{RATE}{{network_interface_name="{interface}"}}'


def query(ports: Ports, promql: str) -> str | None:
    """
    Return the current value of *promql* as Prometheus writes it; None if there is no series.

    Raises DemoError if the query fails, or returns several series.
    """
    series = ask(ports, promql)
    if len(series) > 1:
        raise DemoError(
            f"cannot query Prometheus for {promql}: {len(series)} series, not one: stop the other sidecar"
        )
    return str(series[0]["value"][1]) if series else None


def ask(ports: Ports, promql: str) -> list[dict[str, Any]]:
    """Return all series that match *promql* now; raise DemoError if the query fails."""
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
    try:
        series: list[dict[str, Any]] = json.loads(fetch(url))["data"]["result"]
    except OSError as error:
        raise DemoError(f"cannot query Prometheus for {promql}: {error}: check that it is running") from error
    return series


def arrived(ports: Ports) -> tuple[int, int]:
    """Return how many series of maps Prometheus has, and from how many sidecars."""
    series = '{__name__=~"xdp_.+", __name__!~"xdp_target_info|xdp_xdp_otel_.+"}'
    found = query(ports, f"count({series})"), query(ports, f"count(count by (job, instance) ({series}))")
    return int(found[0] or 0), int(found[1] or 0)


def scrapes(ports: Ports) -> bool:
    """Return whether Prometheus has tried to scrape the Collector."""
    return query(ports, "up") is not None


def counters(ports: Ports, interface: str) -> dict[str, int | None]:
    """Return the value of each of FIELDS in Prometheus; None where it has no series yet."""
    values: dict[str, int | None] = {}
    for field in FIELDS:
        value = query(ports, f'{METRICS[field]}{{network_interface_name="{interface}"}}')
        values[field] = None if value is None else int(value)
    return values
