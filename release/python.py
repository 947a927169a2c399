# SPDX-License-Identifier: Apache-2.0
"""The wheel and sdist, with the compiled BPF program inside."""

import shutil
import sys
import tempfile
from pathlib import Path

from demo.processes import ROOT
from release import links
from release.commands import run
from sidecar import __version__

# As pyproject.toml names them, by the labels that PyPI knows; paths as on GitHub.
_URLS = """
[project.urls]
Source = "{source}"
Documentation = "{source}/blob/v{version}/README.md"
Changelog = "{source}/blob/v{version}/CHANGELOG.md"
Issues = "{source}/issues"
"""


def build(dist: Path, source: str) -> Path:
    """
    Build the sdist, and the wheel from it, so that the sdist is known to be complete; return the wheel.

    *source* is the URL of the repository; without it, neither has links.
    """
    with tempfile.TemporaryDirectory() as directory:
        checkout = Path(directory)
        _copy(checkout)
        if source:
            with (checkout / "pyproject.toml").open("a") as file:
                file.write(_URLS.format(source=source, version=__version__))
            readme = checkout / "README.md"
            readme.write_text(links.absolute(readme.read_text(), "", source))
        # Byte for byte the same each time: hatchling takes all times from SOURCE_DATE_EPOCH, and is that of
        # release/requirements.txt, not the newest that there is.
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, checkout)
    packages = sorted(dist.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    wheel = next(path for path in packages if path.suffix == ".whl")
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    return wheel


def _copy(checkout: Path) -> None:
    """Copy what is in git, and what `make bpf` has compiled."""
    tracked = run("git", "ls-files", "-z").rstrip("\0").split("\0")
    compiled = [str(path.relative_to(ROOT)) for path in (ROOT / "sidecar").glob("*.bpf.o")]
    for name in (*tracked, *compiled):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
