# SPDX-License-Identifier: Apache-2.0
"""Inject faults everywhere and check that the counts stay exact."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from chaos import ledger
from chaos.ledger import Row
from chaos.run import FULL_S, play
from chaos.scenarios import SCENARIOS
from demo import interruption, stack
from demo.errors import DemoError
from demo.progress import is_terminal, step


def main() -> int:
    """Return the exit code: 0 all rows within bounds, 1 not, 2 usage, 130 after Ctrl-C, 143 after SIGTERM."""
    chosen = _arguments()
    if chosen.list:
        _print("\n".join(f"{name:<22}{_first_line(name)}" for name in SCENARIOS))
        return 0
    interruption.listen()
    try:
        _check()
        with _place(chosen.logs) as directory:
            return _conclude(_play(chosen, directory), chosen.seed)
    except DemoError as error:
        _print(f"chaos: {error}")
        return 1
    except interruption.Interrupted as interrupted:
        return 128 + interrupted.number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    environ = os.environ
    only = [name for name in environ.get("CHAOS_ONLY", "").split(",") if name]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="only these (CHAOS_ONLY=name,name)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=environ.get("CHAOS_SECONDS") or FULL_S,
        help=f"approximate duration of all together (CHAOS_SECONDS, default {FULL_S:.0f})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=environ.get("CHAOS_SEED") or SystemRandom().randrange(1 << 32),
        help="the same seed injects the same faults (CHAOS_SEED, default: random)",
    )
    parser.add_argument(
        "--logs", type=Path, metavar="DIR", help="keep the logs and state of all scenarios there"
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    chosen = parser.parse_args()
    chosen.scenarios = chosen.scenarios or only or list(SCENARIOS)
    for name in chosen.scenarios:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name!r}: --list shows them")
    if not chosen.seconds > 0:
        parser.error(f"argument --seconds: {chosen.seconds:g} is not positive")
    return chosen


def _check() -> None:
    if os.geteuid() != 0:
        raise DemoError("cannot start: network namespaces and XDP need root: run it with sudo")
    stack.check_built()
    stack.mount_bpffs()


@contextmanager
def _place(logs: Path | None) -> Iterator[Path]:
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        yield logs.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="xdp-chaos-") as directory:
        yield Path(directory)


def _play(chosen: argparse.Namespace, directory: Path) -> list[Row]:
    """Play the scenarios in order; print complaints as they come and the ledger at the end."""
    colours = is_terminal()
    _print(f"seed {chosen.seed}, {len(chosen.scenarios)} scenarios, about {chosen.seconds:.0f} s for all\n")
    rows: list[Row] = []
    started = time.monotonic()
    try:
        for number, name in enumerate(chosen.scenarios, start=1):
            with step(f"[{number}/{len(chosen.scenarios)}] {name}: {_first_line(name)}"):
                played = play(name, directory, seed=chosen.seed, seconds=chosen.seconds)
            rows += played
            for row in played:
                for complaint in row.complaints():
                    _print(f"    {row.scenario}: {complaint}")
    finally:
        lines = [ledger.header(), *(ledger.line(row, colours=colours) for row in rows)]
        _print("\n" + "\n".join(lines) + f"\n\n{time.monotonic() - started:.0f} s")
    return rows


def _conclude(rows: Sequence[Row], seed: int) -> int:
    wrong = [row.scenario for row in rows if row.complaints()]
    packets = sum(row.kernel["total_packets"] for row in rows)
    if wrong:
        _print(f"WRONG: {', '.join(wrong)}. Again: CHAOS_SEED={seed}")
        return 1
    _print(f"All {len(rows)} rows within their bounds: {packets:,} packets. CHAOS_SEED={seed}")
    return 0


def _first_line(name: str) -> str:
    return (SCENARIOS[name].__doc__ or "").strip().splitlines()[0]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
