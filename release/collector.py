# SPDX-License-Identifier: Apache-2.0
"""The Collector for each architecture: a static program, its configurations, the licences of its parts."""

import shutil
from pathlib import Path

from demo.processes import ROOT
from release import archive
from release.commands import ReleaseError, run
from sidecar import __version__

_SOURCES = ROOT / ".build/collector"  # written by ocb, `make collector`
_CONFIGURATIONS = ("agent.yaml", "config.yaml", "gateway.yaml", "generic-otlp.yaml", "tls.yaml", "token.yaml")
_LICENSE = ("LICEN[CS]E*", "COPYING*", "NOTICE*")


def build(dist: Path, architecture: str) -> Path:
    """Compile for *architecture*, pack otelcol-xdp-VERSION-linux-ARCHITECTURE.tar.gz, return its path."""
    top = f"otelcol-xdp-{__version__}-linux-{architecture}"
    program = _SOURCES / f"otelcol-xdp-{architecture}"
    run(
        *("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, "."),
        cwd=_SOURCES,
        env={"GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0"},
    )
    members = {"otelcol-xdp": program, **documents(program)}
    path = dist / f"{top}.tar.gz"
    archive.write(path, top, members, frozenset({"otelcol-xdp"}))
    return path


def documents(program: Path) -> dict[str, Path]:
    """Return what goes with *program*, by its place next to it."""
    members = {"LICENSE": ROOT / "LICENSE", "README.md": ROOT / "collector/README.md"}
    return members | {name: ROOT / "collector" / name for name in _CONFIGURATIONS} | _licences(program)


def modules(program: Path) -> list[tuple[str, str]]:
    """Return name and version of each module that is linked into *program*."""
    listing = run("go", "version", "-m", program).splitlines()
    # A line `=>` after a module names what takes its place.
    found: list[tuple[str, str]] = []
    for line in listing:
        kind, *words = line.split()
        if kind == "dep":
            found.append((words[0], words[1]))
        elif kind == "=>":
            found[-1] = (words[0], words[1])
    return found


def program(architecture: str) -> Path:
    """Return the program that `build` compiled."""
    return _SOURCES / f"otelcol-xdp-{architecture}"


def _licences(program: Path) -> dict[str, Path]:
    """Return the licences of all modules, by their place in the archive."""
    cache = Path(run("go", "env", "GOMODCACHE").strip())
    members: dict[str, Path] = {}
    for name, version in modules(program):
        folder = cache / f"{_escaped(name)}@{version}"
        files = [file for pattern in _LICENSE for file in sorted(folder.glob(pattern)) if file.is_file()]
        if not files:
            raise ReleaseError(f"cannot ship {name}@{version}: it has no licence: {folder}")
        members |= {f"licenses/{name}/{file.name}": file for file in files}
    go = Path(shutil.which("go") or "go").resolve().parent.parent / "LICENSE"
    return members | ({"licenses/go/LICENSE": go} if go.is_file() else {})


def _escaped(name: str) -> str:
    """Return a module's name as the cache spells it: `!a` for `A` (golang.org/ref/mod, "Module cache")."""
    return "".join(f"!{letter.lower()}" if letter.isupper() else letter for letter in name)
