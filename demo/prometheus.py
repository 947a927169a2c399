# SPDX-License-Identifier: Apache-2.0
"""Prometheus: what it is told to scrape, and what it answers."""

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
"""Field of `struct pkt_stats` to the name of its counter in Prometheus."""

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
    """Return whether a GET of *url* is answered with 200 within a second."""
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
    Return the value that *promql* has now, as Prometheus spells it; None if there is no such series.

    Raises DemoError if Prometheus cannot be asked, or answers with more than one series.
    """
    series = ask(ports, promql)
    if len(series) > 1:
        raise DemoError(
            f"query Prometheus for {promql}: {len(series)} series, want one: stop the other sidecar"
        )
    return str(series[0]["value"][1]) if series else None


def ask(ports: Ports, promql: str) -> list[dict[str, Any]]:
    """Return all series of the answer to *promql*, now; raise DemoError if Prometheus cannot be asked."""
    url = f"http://127.0.0.1:{ports.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
    try:
        series: list[dict[str, Any]] = json.loads(fetch(url))["data"]["result"]
    except OSError as error:
        raise DemoError(f"query Prometheus for {promql}: {error}: see whether it runs") from error
    return series


def scrapes(ports: Ports) -> bool:
    """Return whether Prometheus has tried to scrape the Collector."""
    return query(ports, "up") is not None


def counters(ports: Ports, interface: str) -> dict[str, int | None]:
    """Return what Prometheus answers for each of FIELDS, as an integer; None where it has no answer yet."""
    found: dict[str, int | None] = {}
    for field in FIELDS:
        value = query(ports, f'{METRICS[field]}{{network_interface_name="{interface}"}}')
        found[field] = None if value is None else int(value)
    return found
