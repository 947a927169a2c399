# SPDX-License-Identifier: Apache-2.0
"""Paths, compilers, and a description of the machine."""

import os
import platform
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).parent
BUILD = ROOT / ".build/bench"

_CLANG = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
# As in bpf/Makefile.
_BPF_FLAGS = ("-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3")


def lacking(*commands: str) -> str:
    """Return which of the commands are missing and what to do; empty if none is."""
    absent = [command for command in commands if not shutil.which(command)]
    return f"no {' and no '.join(absent)} on PATH: install it" if absent else ""


def compile_bpf(source: str) -> Path:
    """Compile a BPF program of this directory; return the object; raises OSError or SubprocessError."""
    headers = ("-idirafter", f"/usr/include/{platform.machine()}-linux-gnu", "-I", str(ROOT / "bpf"))
    return _compile(source, ".bpf.o", _clang(), *_BPF_FLAGS, *headers, "-c")


@cache
def compile_c(source: str) -> Path:
    """Compile a C program of this directory; return the executable; raises OSError or SubprocessError."""
    return _compile(source, "", shutil.which("cc") or _clang(), "-O2", "-Wall", "-Wextra", "-Werror")


def _clang() -> str:
    return next(filter(None, map(shutil.which, _CLANG)), "clang")


def _compile(source: str, suffix: str, *command: str) -> Path:
    target = BUILD / (source.split(".", maxsplit=1)[0] + suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, str(HERE / source), "-o", str(target)], check=True)
    return target


def machine() -> dict[str, str]:
    """Return what a figure depends on, with the present load."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    return {
        "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "cpu": f"{os.cpu_count()} x {model}",
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "revision": revision,
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
