# SPDX-License-Identifier: Apache-2.0
"""Run a builder."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from demo.processes import ROOT


class ReleaseError(Exception):
    """Something that must not be released."""


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run *command* with *env* added to the environment; return its output, or raise ReleaseError."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, check=False, capture_output=True, text=True
    )
    if done.returncode:
        output = (done.stderr or done.stdout).strip()
        raise ReleaseError(f"{output}\ncannot release: `{' '.join(map(str, command))}` failed")
    return done.stdout
