# SPDX-License-Identifier: Apache-2.0
"""Measure what gateways and a store need per node, and whether all counts arrive."""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from demo import interruption
from demo.errors import DemoError
from demo.progress import step
from demo.stack import check_built
from scale.measure import Load, Result, measure
from scale.nodes import METRICS

LOADS = (
    Load(nodes=500, gateways=1),
    Load(nodes=2000, gateways=1),
    Load(nodes=5000, gateways=1),
    Load(nodes=5000, gateways=3),
    Load(nodes=2000, gateways=1, tls=True),
    Load(nodes=1000, gateways=1, interfaces=8),
    # As many requests per second as 10,000 nodes every 10 s.
    Load(nodes=2000, gateways=2, interval_s=2),
)

_HEADER = (
    f"{'nodes':>6}{'x if':>5}{'every':>7}{'TLS':>4}{'gateways':>9}{'requests/s':>11}{'points/s':>10}"
    f"{'gw cores':>9}{'points/core':>12}{'conns/gw':>9}{'MiB/gw':>8}{'KiB/conn':>9}"
    f"{'store cores':>12}{'store MiB':>10}{'series':>8}{'B sent':>8}{'B written':>10}"
    f"{'p50 ms':>8}{'p99 ms':>8}{'failed':>7}{'late s':>7}  verdict"
)


def main() -> int:
    """Return the exit code: 0 all counts arrived, 1 not, 2 usage, 130 after Ctrl-C, 143 after SIGTERM."""
    chosen = _arguments()
    interruption.listen()
    results: list[Result] = []
    try:
        check_built()
        loads = [replace(load, tls=chosen.tls) for load in chosen.loads] or LOADS
        with tempfile.TemporaryDirectory(prefix="xdp-scale-") as directory:
            for load in loads:
                results.append(_measure(Path(directory) / str(len(results)), load, chosen.seconds))
    except DemoError as error:
        print(f"scale: {error}")
        return 1
    except interruption.Interrupted as interrupted:
        return 128 + interrupted.number
    finally:
        print("\n".join(["", _HEADER, *map(_line, results)]))
    return 0 if all(result.exact for result in results) else 1


def _measure(directory: Path, load: Load, seconds: float) -> Result:
    title = f"{load.nodes} nodes, {load.interfaces} interfaces each, every {load.interval_s:g} s"
    with step(f"{title}, to {load.gateways} gateways{' over TLS' if load.tls else ''}"):
        return measure(directory, load, seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scale",
        description=__doc__,
        epilog="example: python -m scale --seconds 30 3000:2 1000:1:5:4",
    )
    parser.add_argument(
        "loads",
        nargs="*",
        type=_load,
        metavar="NODES:GATEWAYS[:INTERVAL_S[:INTERFACES]]",
        help="loads to measure (default: a list that takes about 5 minutes)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=float(os.environ.get("SCALE_SECONDS") or 20),
        help="how long to measure each load, after each node has sent twice (SCALE_SECONDS, default 20)",
    )
    parser.add_argument("--tls", action="store_true", help="use TLS for each of the named loads")
    return parser.parse_args()


def _load(text: str) -> Load:
    nodes, gateways, *more = text.split(":")
    interval_s = float(more[0]) if more else Load.interval_s
    return Load(int(nodes), int(gateways), interval_s, int(more[1]) if len(more) > 1 else Load.interfaces)


def _line(result: Result) -> str:
    load = result.load
    requests_s = result.points_s / load.interfaces / METRICS
    per_core = result.points_s / result.gateway_cores if result.gateway_cores else 0.0
    verdict = "exact" if result.exact else "WRONG"
    return (
        f"{load.nodes:>6,}{load.interfaces:>5}{load.interval_s:>5g} s{'yes' if load.tls else 'no':>4}"
        f"{load.gateways:>9}{requests_s:>11,.0f}{result.points_s:>10,.0f}{result.gateway_cores:>9.2f}{per_core:>12,.0f}"
        f"{result.connections:>9,}{result.gateway_mib:>8.0f}{result.connection_kib:>9.0f}"
        f"{result.store_cores:>12.2f}{result.store_mib:>10.0f}{result.series:>8,}"
        f"{result.sent_bytes:>8,.0f}{result.written_bytes:>10,.0f}{result.p50_ms:>8.1f}{result.p99_ms:>8.0f}"
        f"{result.failed:>7,}{result.late_s:>7.1f}  {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
