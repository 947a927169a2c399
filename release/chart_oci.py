# SPDX-License-Identifier: Apache-2.0
"""
The Helm chart as an OCI artefact: what `helm push` puts into a registry, as an image layout in a tar file.

Media types: https://helm.sh/docs/topics/registries; layout: OCI image specification, image-layout.md.
"""

import hashlib
import io
import json
import os
import tarfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_IMAGE = "org.opencontainers.image"


def build(dist: Path, archive: Path) -> Path:
    """Write the artefact of the chart *archive*, the same bytes for the same archive, and return its path."""
    chart = _chart(archive)
    blobs: dict[str, bytes] = {}
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _add(blobs, _CONFIG, _json(chart)),
        "layers": [_add(blobs, _CONTENT, archive.read_bytes())],
        "annotations": _annotations(chart),
    }
    entry = _add(blobs, _MANIFEST, _json(manifest))
    entry["annotations"] = {f"{_IMAGE}.ref.name": chart["version"]}
    members = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}),
        **{f"blobs/sha256/{digest}": blob for digest, blob in sorted(blobs.items())},
    }
    target = dist / f"xdp-otel-chart-{chart['version']}.oci.tar"
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), int(os.environ["SOURCE_DATE_EPOCH"])
            tar.addfile(member, io.BytesIO(content))
    return target


def _chart(archive: Path) -> dict[str, Any]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("xdp-otel/Chart.yaml")
        if file is None:
            raise ValueError(f"{archive}: xdp-otel/Chart.yaml is no file")
        chart: dict[str, Any] = yaml.safe_load(file)
    return chart


def _annotations(chart: dict[str, Any]) -> dict[str, str]:
    """Return those that `helm push` writes."""
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    found = {
        "title": chart["name"],
        "version": chart["version"],
        "description": chart["description"],
        "created": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "authors": ", ".join(each["name"] for each in chart.get("maintainers", ())),
        "url": chart.get("home", ""),
        "source": next(iter(chart.get("sources", ())), ""),
    }
    return {f"{_IMAGE}.{name}": value for name, value in found.items() if value}


def _add(blobs: dict[str, bytes], media_type: str, content: bytes) -> dict[str, Any]:
    """Add a blob and return its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
