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


def of_collector(dist: Path) -> None:
    """List the Go modules that are linked into the Collector, which are the same for each architecture."""
    parts = {tuple(collector.modules(collector.program(each))) for each in ARCHITECTURES}
    (modules,) = parts
    whole = Component(
        name="otelcol-xdp", version=__version__, type=ComponentType.APPLICATION, bom_ref="otelcol-xdp"
    )
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    bom = Bom(
        components=[_module(name, version) for name, version in modules],
        metadata=BomMetaData(component=whole, timestamp=when),
        serial_number=uuid.uuid5(_NAMESPACE, f"otelcol-xdp {__version__} {modules}"),
    )
    bom.register_dependency(whole, bom.components)
    target = dist / f"otelcol-xdp-{__version__}.cdx.json"
    target.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    _check(target)


def _module(name: str, version: str) -> Component:
    namespace, _, last = name.rpartition("/")
    purl = PackageURL("golang", namespace or None, last, version)
    return Component(name=name, version=version, purl=purl, bom_ref=str(purl))


def _check(target: Path) -> None:
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(target.read_text()):
        raise ReleaseError(f"{target.name} is not valid CycloneDX: {problem}")
    if not json.loads(target.read_text()).get("components"):
        raise ReleaseError(f"{target.name} lists nothing")
