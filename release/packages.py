# SPDX-License-Identifier: Apache-2.0
"""DEB and RPM of the sidecar and of the Collector, by nfpm; what goes where is in nfpm/*.yaml and below."""

import gzip
import os
import shutil
import zipfile
from datetime import datetime, timezone
from importlib.metadata import PathDistribution
from pathlib import Path

from demo.processes import ROOT
from release import collector, manual, vendored
from release.commands import run
from sidecar import __version__
from sidecar.commands import completion, registry

# The Pythons of the distributions: of Debian 12, Ubuntu 24.04, Debian 13, Ubuntu 26.04; of RHEL 9 and 10.
_PYTHONS = {"deb": ("3.11", "3.12", "3.13", "3.14"), "rpm": ("3.12",)}
_PROGRAM = {"deb": "python3", "rpm": "python3.12"}
_ZSH = {"deb": "vendor-completions", "rpm": "site-functions"}
# Debian's packages must have an address; this one is nobody's by definition (RFC 2606).
_NO_ADDRESS = "nobody@xdp-otel.invalid"
_STAGE = ROOT / ".build/packages"
_SYSTEMD = ROOT / "deploy/systemd"


def build(dist: Path, wheel: Path, architecture: str, source: str) -> None:
    """
    Build the four packages for *architecture*; Collector and lists of parts are already built.

    *source* is the URL of the repository, or empty.
    """
    who = maintainer(wheel)
    for kind in _PYTHONS:
        for name, stage in (("xdp-otel", _sidecar), ("otelcol-xdp", _collector)):
            place = _STAGE / f"{name}-{architecture}-{kind}"
            shutil.rmtree(place, ignore_errors=True)
            executables = stage(place, wheel, architecture, kind)
            _documents(place / "tree/usr/share/doc" / name, dist, name, kind, who)
            _same_modes_and_times(place, executables)
            variables = {"ARCHITECTURE": architecture, "MAINTAINER": who, "HOMEPAGE": source}
            _pack(place, dist, name, kind, variables)


def maintainer(wheel: Path) -> str:
    """Return name and address of the maintainer, whom pyproject.toml names and the *wheel* has from there."""
    metadata = PathDistribution(zipfile.Path(wheel, f"xdp_otel-{__version__}.dist-info/")).metadata
    return metadata["Maintainer-email"] or f"{metadata['Maintainer']} <{_NO_ADDRESS}>"


def _sidecar(place: Path, wheel: Path, architecture: str, kind: str) -> set[Path]:
    tree = place / "tree"
    vendored.install(tree / "usr/lib/xdp-otel/python", wheel, architecture, _PYTHONS[kind])
    launcher = tree / "usr/bin/xdp-otel"
    _write(launcher, (ROOT / "release/nfpm/launcher.py").read_text().replace("python3", _PROGRAM[kind], 1))
    _adapted(_SYSTEMD / "xdp-otel.env", place / "etc/xdp-otel.env")
    _adapted(_SYSTEMD / "xdp-otel.service", tree / "usr/lib/systemd/system/xdp-otel.service")
    share = tree / "usr/share"
    for page, text in manual.pages(_when()).items():
        _compress(share / f"man/man{page[-1]}/{page}.gz", text)
    for shell, place_of_script in (
        ("bash", "bash-completion/completions/xdp-otel"),
        ("zsh", f"zsh/{_ZSH[kind]}/_xdp-otel"),
        ("fish", "fish/vendor_completions.d/xdp-otel.fish"),
    ):
        _write(share / place_of_script, completion.script(registry.parser(), shell))
    doc = share / "doc/xdp-otel"
    for name in ("LICENSE.BSD-2-Clause", "LICENSE.GPL-2.0"):
        _copy(ROOT / "bpf" / name, doc / name)
    for path in sorted((ROOT / "docs").glob("*.md")):
        _copy(path, doc / "docs" / path.name)
    for path in sorted((_SYSTEMD / "drop-ins").iterdir()):
        _adapted(path, doc / "drop-ins" / path.name)
    return {launcher}


def _collector(place: Path, _wheel: Path, architecture: str, _kind: str) -> set[Path]:
    tree = place / "tree"
    program = tree / "usr/bin/otelcol-xdp"
    _copy(collector.program(architecture), program)
    _adapted(_SYSTEMD / "otelcol-xdp.env", place / "etc/otelcol-xdp.env")
    _adapted(_SYSTEMD / "otelcol-xdp.service", tree / "usr/lib/systemd/system/otelcol-xdp.service")
    doc = tree / "usr/share/doc/otelcol-xdp"
    for name, path in collector.documents(collector.program(architecture)).items():
        _copy(path, doc / name)
    return {program}


def _documents(doc: Path, dist: Path, name: str, kind: str, who: str) -> None:
    _copy(dist / f"{name}-{__version__}.cdx.json", doc / f"{name}.cdx.json")
    _copy(ROOT / "release/nfpm" / f"{name}.copyright", doc / "copyright")
    _copy(ROOT / "LICENSE", doc / "LICENSE")
    _compress(doc / "changelog.gz", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if kind == "deb":
        change = "  * What has changed is in changelog.gz."
        signed = f" -- {who}  {_when():%a, %d %b %Y %T %z}"
        entry = f"{name} ({__version__}-1) unstable; urgency=medium\n\n{change}\n\n{signed}\n"
        _compress(doc / "changelog.Debian.gz", entry)


def _adapted(source: Path, target: Path) -> None:
    """Copy a file of deploy/systemd with the places that its programs and documents have in a package."""
    text = source.read_text(encoding="utf-8").replace("/opt/xdp-otel/bin/", "/usr/bin/")
    _write(target, text.replace("deploy/systemd/drop-ins/", "/usr/share/doc/xdp-otel/drop-ins/"))


def _pack(place: Path, dist: Path, name: str, kind: str, variables: dict[str, str]) -> None:
    variables = {**variables, "STAGE": str(place), "VERSION": __version__}
    nfpm = (ROOT / ".build/bin/nfpm", "package", "--config", ROOT / f"release/nfpm/{name}.yaml")
    run(*nfpm, "--packager", kind, "--target", dist, env=variables)


def _same_modes_and_times(place: Path, executables: set[Path]) -> None:
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in executables else 0o644)
        os.utime(path, (when, when))


def _when() -> datetime:
    return datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _compress(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(text.encode(), mtime=0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
