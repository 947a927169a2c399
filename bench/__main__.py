# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks; print the table, write it and the curves to a file."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench import (
    default_map,
    encode,
    freshness,
    growth,
    journal,
    many_keys,
    start,
    whole,
    xdp_program,
)
from bench.place import HERE, machine
from bench.table import Row, render
from demo.errors import DemoError
from demo.progress import step
from demo.stack import mount_bpffs

BENCHMARKS: Mapping[str, tuple[str, Callable[[], Iterable[Row]]]] = {
    "xdp": ("the XDP program", xdp_program.rows),
    "default": ("a cycle of the default map", default_map.rows),
    "encode": ("encoding", encode.rows),
    "journal": ("the journal", journal.rows),
    "start": ("the start", start.rows),
    "freshness": ("freshness", freshness.rows),
    "keys": ("100,000 keys", many_keys.rows),
    "whole": ("whole cycles over 100,000 keys", whole.rows),
}
_GROWTH = "growth"


def main() -> int:
    """Return the exit code: 0 whatever the figures are, 1 if something could not be measured, 2 usage."""
    chosen = _arguments()
    if os.geteuid() != 0:
        _say("bench: start: maps, programs and namespaces need root: run it with sudo")
        return 1
    begun = time.monotonic()
    before = machine()
    try:
        mount_bpffs()
        rows, curves = _measure(chosen.benchmarks, many=chosen.many)
    except DemoError as error:
        _say(f"bench: {error}")
        return 1
    state = {**before, "load after": machine()["load"], "took": f"{time.monotonic() - begun:.0f} s"}
    found = {"machine": state, "rows": [one.as_json() for one in rows], "curves": curves}
    chosen.output.write_text(json.dumps(found, indent=1) + "\n")
    _say(f"\n{', '.join(f'{name}: {value}' for name, value in state.items())}\n\n{render(rows)}\n")
    _say(f"written to {chosen.output}; `make performance` puts it into docs/performance.md")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog="example: python -m bench xdp encode"
    )
    names = (*BENCHMARKS, _GROWTH)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"only these: {', '.join(names)}")
    parser.add_argument(
        "--many", action="store_true", help="growth up to a million series, which takes minutes"
    )
    default = HERE / "results.json"
    parser.add_argument(
        "--output", type=Path, default=default, metavar="FILE", help="default bench/results.json"
    )
    chosen = parser.parse_args()
    chosen.benchmarks = chosen.benchmarks or names
    for name in chosen.benchmarks:
        if name not in names:
            parser.error(f"no benchmark {name!r}: there are {', '.join(names)}")
    return chosen


def _measure(names: Iterable[str], *, many: bool) -> tuple[list[Row], dict[str, growth.Curve]]:
    rows: list[Row] = []
    curves: dict[str, growth.Curve] = {}
    for name in names:
        if name == _GROWTH:
            with step("measuring growth"):
                curves = growth.curves(many=many)
            rows += growth.rows(curves)
        else:
            what, benchmark = BENCHMARKS[name]
            with step(f"measuring {what}"):
                rows += benchmark()
    return rows, curves


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
