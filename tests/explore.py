# SPDX-License-Identifier: Apache-2.0
"""
Extend `make test`: every property with more examples, and the model at larger bounds.

`python -m tests.explore` runs one property after another, in an order and with examples that depend on the
seed, until time is up or one fails: then it prints the history and how to reproduce it, and exits with 1. Add
a failing history to its test as an @example (tests/wire/histories.py).
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random, SystemRandom
from typing import IO

from demo import interruption
from demo.errors import DemoError
from demo.processes import end, run, spawn

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0")
PROFILE = "--hypothesis-profile=explore"
_POLL_S = 0.1
# Failures are most likely in the properties of tests/wire, so they run four times as often as others.
_WEIGHT = 4


@dataclass(frozen=True)
class Search:
    """One test with one seed; *depth* is the number of extra faults and cycles of the model."""

    test: str
    seed: int
    depth: int = 0

    @property
    def command(self) -> list[str]:
        """The command that runs it."""
        if self.depth:
            return [*PYTEST, "-rP", self.test]
        quiet = ("--hypothesis-show-statistics", "--show-capture=no", "--tb=short")
        return [*PYTEST, PROFILE, f"--hypothesis-seed={self.seed}", *quiet, self.test]

    @property
    def environment(self) -> dict[str, str]:
        """The extra environment variables."""
        return {"MODEL_DEPTH": str(self.depth)} if self.depth else {}

    def reproduce(self) -> str:
        """The command line that reproduces it."""
        settings = "".join(f"{name}={value} " for name, value in self.environment.items())
        more = "" if self.depth else f" {PROFILE} --hypothesis-seed={self.seed}"
        return f"{settings}.venv/bin/python -m pytest '{self.test}'{more}"


class Running:
    """A running search."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.began = time.monotonic()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = spawn(
            search.command,
            env={**os.environ, **search.environment},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return its output so far."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        """End the process if it still runs."""
        end(self._process)
        self._output.close()


def main() -> int:
    """Return the exit code: 0 all passed, 1 one failed, 2 usage, 130 after Ctrl-C, 143 after SIGTERM."""
    interruption.listen()
    try:
        seconds = float(os.environ.get("EXPLORE_SECONDS") or 600)
        seed = int(os.environ.get("EXPLORE_SEED") or SystemRandom().randrange(1 << 32))
        jobs = int(os.environ.get("EXPLORE_JOBS") or os.cpu_count() or 1)
    except ValueError as error:
        _say(f"explore: read EXPLORE_SECONDS, EXPLORE_SEED, EXPLORE_JOBS: {error}: give numbers")
        return 2
    try:
        properties = _collected("tests/wire", "tests/unit", "-m", "hypothesis")
        model = _collected("tests/model", "-k", "not finds")
    except DemoError as error:
        _say(f"explore: {error}")
        return 2
    _say(f"seed {seed}: {len(properties)} properties, {len(model)} bounds of the model, for {seconds:.0f} s")
    running: list[Running] = []
    searched: Counter[str] = Counter(searches=0)
    deadline = time.monotonic() + seconds
    examples, bounds, turns = _examples(properties, seed), _bounds(model, seed), count(1)
    try:
        while time.monotonic() < deadline:
            while len(running) < jobs:
                # A larger bound may take long and must not block all other searches.
                is_deep = next(turns) % _WEIGHT == 0 and not any(search.search.depth for search in running)
                running.append(Running(next(bounds if is_deep else examples)))
            interruption.pause(_POLL_S)
            for ended in [search for search in running if search.exit_code() is not None]:
                running.remove(ended)
                if _has_failed(ended, searched):
                    return 1
    except interruption.Interrupted as interrupted:
        return 128 + interrupted.number
    else:
        return 0
    finally:
        for search in running:
            search.close()
        cut = f", {len(running)} cut off at the end" if running else ""
        _say(", ".join(f"{what}: {number:,}" for what, number in sorted(searched.items())) + cut)


def _collected(*which: str) -> list[str]:
    return [line for line in run(*PYTEST, "--collect-only", *which).splitlines() if line.startswith("tests/")]


def _examples(properties: list[str], first_seed: int) -> Iterator[Search]:
    """Yield all properties in turn, those of tests/wire more often, each time with a new seed."""
    chance = Random(first_seed)  # noqa: S311 - must be the same for the same seed
    drawn = [test for test in properties for _ in range(_WEIGHT if "/wire/" in test else 1)]
    while True:
        chance.shuffle(drawn)
        yield from (Search(test, chance.randrange(1 << 32)) for test in drawn)


def _bounds(model: list[str], first_seed: int) -> Iterator[Search]:
    """Yield the model with depth 1, then 2, …; each is searched exhaustively, in an order by the seed."""
    chance = Random(first_seed)  # noqa: S311 - must be the same for the same seed
    for depth in count(1):
        chance.shuffle(model)
        yield from (Search(test, 0, depth) for test in model)


def _has_failed(done: Running, searched: Counter[str]) -> bool:
    """Print the result of one search; return whether it failed."""
    output, code = done.output(), done.exit_code()
    done.close()
    met = Counter(
        examples=sum(map(int, re.findall(r"(\d+) passing", output))),
        states=sum(map(int, re.findall(r"(\d+) states,", output))),
        searches=1,
    )
    searched += met
    took_s = time.monotonic() - done.began
    size = f"{met['examples'] or met['states']:,} {'examples' if met['examples'] else 'states'}"
    how = f"{done.search.depth} deeper" if done.search.depth else f"seed {done.search.seed}"
    _say(f"{took_s:6.0f} s  {size:>18}  {done.search.test.removeprefix('tests/')}, {how}")
    if code:
        _say(f"\n{output}\nFOUND. Again:\n    {done.search.reproduce()}")
    return bool(code)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
