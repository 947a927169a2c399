# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks and print the table; if all were run, write table, curves and profile to a file."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import (
    default_map,
    encode,
    freshness,
    growth,
    journal,
    many_keys,
    many_sources,
    page,
    profile,
    shapes,
    start,
    whole,
    xdp_program,
)
from bench.place import HERE, machine
from bench.table import Row, missing, render
from demo.errors import DemoError
from demo.progress import step
from demo.stack import mount_bpffs
from sidecar.errors import SidecarError

BENCHMARKS: Mapping[str, tuple[str, Callable[[], Iterable[Row]]]] = {
    "xdp": ("the XDP program", xdp_program.rows),
    "default": ("a cycle of the default map", default_map.rows),
    "encode": ("encoding", encode.rows),
    "journal": ("the journal", journal.rows),
    "start": ("the start", start.rows),
    "freshness": ("freshness", freshness.rows),
    "keys": ("100,000 keys", many_keys.rows),
    "whole": ("whole cycles over 100,000 keys", whole.rows),
    "page": ("/metrics with 100,000 keys", page.rows),
    "sources": ("many sources", many_sources.rows),
    "shapes": ("100,000 keys in other maps", shapes.rows),
}
_GROWTH, _PROFILE, _SHAPES = "growth", "profile", "shapes"
_NAMES = (*BENCHMARKS, _GROWTH, _PROFILE)
# Not part of a full run: more detail on request.
_BY_NAME_ALONE = {_SHAPES}
_FAILURES = (OSError, RuntimeError, subprocess.SubprocessError, DemoError, SidecarError)


@dataclass
class Results:
    """What was measured."""

    rows: list[Row] = field(default_factory=list)
    curves: Mapping[str, growth.Curve] = field(default_factory=dict)
    profiles: Mapping[str, profile.Profile] = field(default_factory=dict)
    failed: bool = False


def main() -> int:
    """Return the exit code: 0 whatever the figures, 1 if a benchmark failed, 2 usage."""
    chosen = _arguments()
    if os.geteuid() != 0:
        _say("bench: start: maps, programs and namespaces need root: run it with sudo")
        return 1
    begun, before, results = time.monotonic(), machine(), Results()
    mount_bpffs()
    for name in chosen.benchmarks or [name for name in _NAMES if name not in _BY_NAME_ALONE]:
        _measure(name, results, many=chosen.many)
    state = {**before, "load after": machine()["load"], "took": f"{time.monotonic() - begun:.0f} s"}
    _say(f"\n{', '.join(f'{name}: {value}' for name, value in state.items())}\n\n{render(results.rows)}\n")
    goals = [row.met for row in results.rows if row.met is not None]
    _say(f"{sum(goals)} of {len(goals)} goals are met\n")
    if results.profiles:
        _say(f"{profile.render(results.profiles)}\n")
    _write(chosen.output or (None if chosen.benchmarks else HERE / "results.json"), results, state)
    return int(results.failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog="example: python -m bench xdp encode"
    )
    parser.add_argument(
        "benchmarks",
        nargs="*",
        metavar="NAME",
        help=f"only these: {', '.join(_NAMES)}; all but {_SHAPES} if none",
    )
    parser.add_argument(
        "--many", action="store_true", help="growth up to a million series, which takes a minute more"
    )
    where = "default: bench/results.json if all are run, else none"
    parser.add_argument("--output", type=Path, metavar="FILE", help=where)
    chosen = parser.parse_args()
    for name in chosen.benchmarks:
        if name not in _NAMES:
            parser.error(f"no benchmark {name!r}: there are {', '.join(_NAMES)}")
    return chosen


def _measure(name: str, results: Results, *, many: bool) -> None:
    """Run one benchmark; a failure becomes a row with the reason."""
    what = (
        BENCHMARKS[name][0]
        if name in BENCHMARKS
        else {_GROWTH: "growth", _PROFILE: "a cycle's profile"}[name]
    )
    try:
        with step(f"measuring {what}"):
            if name == _GROWTH:
                results.curves = growth.curves(many=many)
                results.rows += growth.rows(results.curves)
                if many:
                    results.rows += growth.many_rows()
            elif name == _PROFILE:
                results.profiles = profile.profiles()
            else:
                results.rows += BENCHMARKS[name][1]()
    except _FAILURES as error:
        results.rows.append(missing(what, "", " ".join(str(error).split())))
        results.failed = True


def _write(output: Path | None, results: Results, state: Mapping[str, str]) -> None:
    if output is None:
        _say("not written: name a file by --output, or run all")
        return
    rows = [row.as_json() for row in results.rows]
    content = {"machine": state, "rows": rows, "curves": results.curves, "profiles": results.profiles}
    output.write_text(json.dumps(content, indent=1) + "\n")
    _say(f"written to {output}; `make performance` puts it into docs/performance.md")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
