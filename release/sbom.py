# SPDX-License-Identifier: Apache-2.0
"""Lists of the parts of what is released (SBOM), in CycloneDX 1.6."""

import json
import os
import sys
import tempfile
import uuid
import venv
from datetime import datetime, timezone
from pathlib import Path

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from demo.processes import ROOT
from release import collector
from release.architectures import ARCHITECTURES
from release.commands import ReleaseError, run
from release.images import Image
from sidecar import __version__

_NAMESPACE = uuid.UUID("0b6f8f5e-1d5c-5a0e-8c57-6a8d0a1f0d7b")


def of_wheel(dist: Path, wheel: Path) -> None:
    """List the packages that the wheel brings, at the versions that are tested, with their licences."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=False)
        python = Path(directory) / "bin/python"
        pip = (sys.executable, "-m", "pip", "--python", python)
        run(*pip, "install", "--require-hashes", "--requirement", ROOT / "requirements.txt")
        run(*pip, "install", "--no-deps", wheel)
        target = dist / f"xdp-otel-{__version__}.cdx.json"
        scan = (sys.executable, "-m", "cyclonedx_py", "environment", python)
        run(*scan, "--output-reproducible", "--spec-version", "1.6", "--gather-license-texts", "-o", target)
    _check(target)


def of_sidecar(dist: Path, image: Image) -> None:
    """List the packages of Debian and of Python in the sidecar's image, which are those of its archive."""
    system = _fields(next(text for entry, text in image.files if entry.name == "usr/lib/os-release"), "=")
    distribution = system["ID"].strip('"')
    release = f"{distribution}-{system['VERSION_ID'].strip(chr(34))}"
    parts: list[Component] = []
    for entry, text in image.files:
        if entry.isreg() and entry.name.startswith("var/lib/dpkg/status.d/"):
            found = _fields(text, ": ")
            arch = {"arch": found["Architecture"], "distro": release}
            purl = PackageURL("deb", distribution, found["Package"], found["Version"], arch)
            parts.append(_component(purl, found["Package"]))
        elif entry.name.endswith(".dist-info/METADATA"):
            found = _fields(text, ": ")
            purl = PackageURL("pypi", None, found["Name"], found["Version"])
            parts.append(_component(purl, found["Name"]))
    _write(dist, f"xdp-otel-{__version__}-linux-{image.architecture}", "xdp-otel", parts)


def of_collector(dist: Path) -> None:
    """List the Go modules that are linked into the Collector, which are the same for each architecture."""
    parts = {tuple(collector.modules(collector.program(each))) for each in ARCHITECTURES}
    (modules,) = parts
    found = [_module(name, version) for name, version in modules]
    _write(dist, f"otelcol-xdp-{__version__}", "otelcol-xdp", found)


def _write(dist: Path, stem: str, name: str, parts: list[Component]) -> None:
    """Write STEM.cdx.json: that the application *name* consists of *parts*."""
    whole = Component(name=name, version=__version__, type=ComponentType.APPLICATION, bom_ref=name)
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    bom = Bom(
        components=parts,
        metadata=BomMetaData(component=whole, timestamp=when),
        serial_number=uuid.uuid5(_NAMESPACE, f"{stem} {[str(part.purl) for part in parts]}"),
    )
    bom.register_dependency(whole, bom.components)
    target = dist / f"{stem}.cdx.json"
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    _check(target)


def _fields(text: bytes, separator: str) -> dict[str, str]:
    """Return the first value of each field of a package's description."""
    found: dict[str, str] = {}
    for line in text.decode().splitlines():
        name, separated, value = line.partition(separator)
        if separated:
            found.setdefault(name, value)
    return found


def _module(name: str, version: str) -> Component:
    namespace, _, last = name.rpartition("/")
    return _component(PackageURL("golang", namespace or None, last, version), name)


def _component(purl: PackageURL, name: str) -> Component:
    return Component(name=name, version=purl.version, purl=purl, bom_ref=str(purl))


def _check(target: Path) -> None:
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(target.read_text()):
        raise ReleaseError(f"{target.name} is not valid CycloneDX: {problem}")
    if not json.loads(target.read_text()).get("components"):
        raise ReleaseError(f"{target.name} lists nothing")
