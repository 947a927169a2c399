# SPDX-License-Identifier: Apache-2.0
"""
Ask whether counters arrive. Usage: ask.py prometheus URL | metrics URL.

Prometheus must have counters of this release's sidecars. Without one, what would be scraped must have them.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

WAY, URL = sys.argv[1:]
SECONDS = 90
TYPES = ("tcp", "udp", "icmp", "other")


def fetch(url: str) -> str:
    """Return the body of what *url* answers."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def query(promql: str) -> list[dict]:
    """Return the series that Prometheus answers with."""
    url = f"{URL}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
    return json.loads(fetch(url))["data"]["result"]


def ask_prometheus() -> str:
    """Return what is missing, or nothing. All counters are of one scrape: they must add up."""
    counters = query('{__name__=~"xdp_.+",__name__!~"xdp_(otel_.+|target_info)"}')
    if not counters:
        return "Prometheus has no counter yet"
    by_series = {}
    for one in counters:
        name = one["metric"].pop("__name__")
        by_series.setdefault(tuple(sorted(one["metric"].items())), {})[name] = int(float(one["value"][1]))
    for labels, values in by_series.items():
        print(dict(labels), values)
        total = values.get("xdp_xdp_packets_total")
        parts = [values.get(f"xdp_xdp_packets_{kind}") for kind in TYPES]
        if total is not None and None not in parts and total != sum(parts):
            return f"{total} packets are not {' + '.join(map(str, parts))}"
    down = query('up{job=~"xdp|otel-collector"} == 0')
    return f"not scraped: {down}" if down else ""


def ask_metrics() -> str:
    """Return what is missing, or nothing."""
    return "" if "\nxdp_" in fetch(URL) else f"{URL} has no counter yet"


deadline = time.monotonic() + SECONDS
while True:
    try:
        missing = ask_prometheus() if WAY == "prometheus" else ask_metrics()
    except OSError as error:
        missing = f"{URL}: {error}"
    if not missing:
        print("counters arrive")
        sys.exit()
    if time.monotonic() > deadline:
        sys.exit(f"{missing} after {SECONDS} s: see the logs of sidecar and Collector")
    print(missing, flush=True)
    time.sleep(3)
