# SPDX-License-Identifier: Apache-2.0
"""The sidecar and its Python packages in one directory, for several versions of Python at once."""

import filecmp
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from demo.processes import ROOT
from release.architectures import MACHINES
from release.commands import ReleaseError, run

# Commands, and the parts of numpy that tools/image-root leaves out too: for building and tests, or not used.
_UNUSED = (
    "bin",
    *("numpy/_core/include", "numpy/_pyinstaller", "numpy/distutils", "numpy/f2py", "numpy/fft"),
    *("numpy/polynomial", "numpy/random", "numpy/testing"),
)
# Of a package's metadata: what is true of one version of Python only, or of the machine that builds.
_RECORDS = frozenset({"INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json", "uv_cache.json"})
# Tells how numpy was compiled, for `numpy.show_config()`.
_MAY_DIFFER = Path("numpy/__config__.py")


def install(target: Path, wheel: Path, architecture: str, pythons: tuple[str, ...]) -> None:
    """
    Install *wheel*, and what it needs by the hashes of requirements.txt, for the *pythons* ("3.12").

    The names of extension modules contain the version of Python, so that all lie in *target*, side by side;
    raises ReleaseError if any other file is not the same for all.
    """
    for python in pythons:
        with tempfile.TemporaryDirectory() as directory:
            one = Path(directory)
            _install(one, wheel, architecture, python)
            for path in _shipped(one):
                _put(one / path, target / path, may_differ=path == _MAY_DIFFER)


def _install(directory: Path, wheel: Path, architecture: str, python: str) -> None:
    # Unlike pip, uv decides by the markers for another Python than its own.
    uv = (Path(sys.executable).with_name("uv"), "pip", "install", "--no-config", "--target", directory)
    place = ("--python-version", python, "--python-platform", f"{MACHINES[architecture]}-manylinux_2_28")
    pinned = ("--require-hashes", "--only-binary", ":all:", "--requirement", ROOT / "requirements.txt")
    run(*uv, *place, *pinned)
    run(*uv, *place, "--no-deps", wheel)


def _shipped(directory: Path) -> Iterator[Path]:
    for name in _UNUSED:
        shutil.rmtree(directory / name, ignore_errors=True)
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        in_numpy_tests = relative.parts[0] == "numpy" and "tests" in relative.parts
        of_one_python = path.name in _RECORDS and relative.parts[0].endswith(".dist-info")
        of_tools = path.suffix in (".pyi", ".a") or path.name.startswith((".lock", "_simd."))
        if path.is_file() and not (in_numpy_tests or of_one_python or of_tools):
            yield relative


def _put(source: Path, target: Path, *, may_differ: bool) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    elif not may_differ and not filecmp.cmp(source, target, shallow=False):
        raise ReleaseError(f"cannot share {target} between versions of Python: its contents differ")
