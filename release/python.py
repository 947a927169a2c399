# SPDX-License-Identifier: Apache-2.0
"""Wheel and sdist, with the compiled BPF program inside."""

import sys
from pathlib import Path

from release.commands import run


def build(dist: Path) -> Path:
    """Build the sdist, and the wheel from it, so that the sdist is known to be complete; return the wheel."""
    # Byte for byte the same each time: hatchling takes all times from SOURCE_DATE_EPOCH.
    run(sys.executable, "-m", "build", "--outdir", dist)
    packages = sorted(dist.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    wheel = next(path for path in packages if path.suffix == ".whl")
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    return wheel
