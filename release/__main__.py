# SPDX-License-Identifier: Apache-2.0
"""Build everything that is released, and the checksums of it; the same commit gives the same bytes."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from demo.processes import ROOT
from demo.progress import step
from release import chart, chart_oci, checksums, collector, images, packages, python, sbom, standalone
from release.architectures import ARCHITECTURES
from release.commands import ReleaseError, run
from sidecar import __version__


def main() -> None:
    """Build into an empty directory."""
    arguments = _parse()
    try:
        if not arguments.allow_dirty and run("git", "status", "--porcelain"):
            raise ReleaseError("cannot release this checkout: it has uncommitted changes: commit them")
        _build(arguments.out, arguments.registry, arguments.source_url)
    except ReleaseError as error:
        sys.exit(str(error))
    sys.stdout.write(
        f"xdp-otel {__version__}: {len(list(arguments.out.iterdir()))} files in {arguments.out}\n"
    )


def _build(dist: Path, registry: str, source: str) -> None:
    # What has a time in it gets that of the commit, so that the same commit gives the same bytes.
    os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct").strip()
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    with step("wheel and sdist"):
        wheel = python.build(dist, source)
    _build_collector(dist, registry, source)
    sidecars = _build_sidecar(dist, registry, source)
    with step("Helm chart"):
        chart_oci.build(dist, chart.build(dist, registry, source))
    with step("lists of parts (SBOM)"):
        sbom.of_wheel(dist, wheel)
        sbom.of_collector(dist)
        for image in sidecars:
            sbom.of_sidecar(dist, image)
    for architecture in ARCHITECTURES:
        with step(f"DEB and RPM for {architecture}"):
            packages.build(dist, wheel, architecture, source)
    checksums.write(dist)


def _build_collector(dist: Path, registry: str, source: str) -> None:
    """Build the archive for each architecture, and from it the image."""
    built: list[images.Image] = []
    for architecture in ARCHITECTURES:
        with step(f"Collector for {architecture}"):
            packed = collector.build(dist, architecture)
            built.append(images.collector(packed, architecture, cached=bool(built)))
    images.write(dist, registry, source, "otelcol-xdp", built)


def _build_sidecar(dist: Path, registry: str, source: str) -> list[images.Image]:
    """Build the image for each architecture, and from it the archive; return the images."""
    built: list[images.Image] = []
    for architecture in ARCHITECTURES:
        with step(f"sidecar for {architecture}"):
            # What the first image has fetched anew, the next one takes from it.
            built.append(images.sidecar(architecture, cached=bool(built)))
            standalone.build(dist, built[-1])
    images.write(dist, registry, source, "xdp-otel", built)
    return built


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="directory, emptied first")
    parser.add_argument(
        "--registry",
        default=os.environ.get("REGISTRY", ""),
        help="where the images of the release are, such as registry.example/team: written into the chart",
    )
    parser.add_argument(
        "--source-url",
        default=os.environ.get("SOURCE_URL", ""),
        help="where the repository is, such as https://github.com/OWNER/REPOSITORY: linked by all",
    )
    parser.add_argument("--allow-dirty", action="store_true", help="also with uncommitted changes, for tests")
    return parser.parse_args()


if __name__ == "__main__":
    main()
