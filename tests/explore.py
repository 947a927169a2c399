# SPDX-License-Identifier: Apache-2.0
"""
Search on where `make test` ends: every property with other examples, and the model at larger bounds.

`python -m tests.explore` takes one property after the other, in an order and with examples that the seed
decides, until the time is over or something is found: then it prints the history, how to see it again, and
ends with 1. What it finds belongs into the test as an @example (tests/wire/histories.py).
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

from demo.processes import ROOT, end, spawn

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0")
PROFILE = "--hypothesis-profile=explore"
_POLL_S = 0.1
# The histories and answers on the wire are what has most to be found in.
_WEIGHT = 4


@dataclass(frozen=True)
class Search:
    """One test with one seed; *depth* is how many faults and cycles more the model may have than usual."""

    test: str
    seed: int
    depth: int = 0

    @property
    def command(self) -> list[str]:
        """What runs it."""
        if self.depth:
            return [*PYTEST, "-rP", self.test]
        quiet = ("--hypothesis-show-statistics", "--show-capture=no", "--tb=short")
        return [*PYTEST, PROFILE, f"--hypothesis-seed={self.seed}", *quiet, self.test]

    @property
    def environment(self) -> dict[str, str]:
        """What differs from everyone's."""
        return {"MODEL_DEPTH": str(self.depth)} if self.depth else {}

    def again(self) -> str:
        """How to see it again."""
        settings = "".join(f"{name}={value} " for name, value in self.environment.items())
        more = "" if self.depth else f" {PROFILE} --hypothesis-seed={self.seed}"
        return f"{settings}.venv/bin/python -m pytest '{self.test}'{more}"


class Running:
    """A search under way."""

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
        """Return it once there is one."""
        return self._process.poll()

    def output(self) -> str:
        """Return what it has said."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def close(self) -> None:
        """End it, if it has not ended."""
        end(self._process)
        self._output.close()


def main() -> int:
    """Return the exit code: 0 nothing was found, 1 something was, 2 usage, 130 by Ctrl-C."""
    try:
        seconds = float(os.environ.get("EXPLORE_SECONDS") or 600)
        seed = int(os.environ.get("EXPLORE_SEED") or SystemRandom().randrange(1 << 32))
        jobs = int(os.environ.get("EXPLORE_JOBS") or os.cpu_count() or 1)
    except ValueError as error:
        _say(f"explore: read EXPLORE_SECONDS, EXPLORE_SEED, EXPLORE_JOBS: {error}: give numbers")
        return 2
    properties = _collected("tests/wire", "tests/unit", "-m", "hypothesis")
    model = _collected("tests/model", "-k", "not finds")
    if not (properties and model):
        _say("explore: collect tests: none were found: run `make test`, which says why")
        return 2
    _say(f"seed {seed}: {len(properties)} properties, {len(model)} bounds of the model, for {seconds:.0f} s")
    running: list[Running] = []
    searched: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    searches = _searches(properties, model, seed)
    try:
        while time.monotonic() < deadline:
            running += [Running(next(searches)) for _ in range(jobs - len(running))]
            time.sleep(_POLL_S)
            for one in [one for one in running if one.exit_code() is not None]:
                running.remove(one)
                if _is_wrong(one, searched):
                    return 1
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    finally:
        for one in running:
            one.close()
        cut = f", {len(running)} cut off at the end" if running else ""
        _say(", ".join(f"{what}: {number:,}" for what, number in sorted(searched.items())) + cut)


def _collected(*which: str) -> list[str]:
    listing = subprocess.run(
        [*PYTEST, "--collect-only", *which], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    return [line for line in listing.splitlines() if "::" in line and line.startswith("tests/")]


def _searches(properties: list[str], model: list[str], first_seed: int) -> Iterator[Search]:
    """Yield all properties and all of the model in turn, and again with other seeds and larger bounds."""
    chance = Random(first_seed)  # noqa: S311 - must be the same for the same seed
    for turn in count():
        drawn = [test for test in properties for _ in range(_WEIGHT if "/wire/" in test else 1)]
        all_of_it = [Search(test, chance.randrange(1 << 32)) for test in drawn]
        # The model's bounds are searched whole: no seed would find more.
        all_of_it += [Search(test, 0, depth=1 + turn) for test in model]
        chance.shuffle(all_of_it)
        yield from all_of_it


def _is_wrong(done: Running, searched: Counter[str]) -> bool:
    """Say what one search met, and whether it found something."""
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
        _say(f"\n{output}\nFOUND. Again:\n    {done.search.again()}")
    return bool(code)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
