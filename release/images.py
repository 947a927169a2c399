# SPDX-License-Identifier: Apache-2.0
"""The images: built by podman from their Containerfiles, written as OCI archives that are the same each time.

What podman adds differs from build to build: times, identities of its layers, its version. So only two things
are taken from it: the files, and what the Containerfile says about how to run them.
"""

import hashlib
import json
import os
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from demo.processes import ROOT
from release import archive
from release.architectures import of_this_machine
from release.commands import run
from sidecar import __version__

_OCI = "application/vnd.oci.image"
_LABEL = "org.opencontainers.image"


class Image(NamedTuple):
    """The image of one architecture: its files, and how to run them (image specification, `config`)."""

    architecture: str
    files: list[archive.Member]
    config: dict[str, Any]


def sidecar(architecture: str, *, cached: bool) -> Image:
    """Build the sidecar's image; *cached*: with those layers of the last build that have the same inputs."""
    return _build("Containerfile", architecture, cached)


def collector(archived: Path, architecture: str, *, cached: bool) -> Image:
    """Build the Collector's image with the program of its archive, and the licences that are there."""
    place = Path(".build/image") / architecture
    shutil.rmtree(ROOT / place, ignore_errors=True)
    with tarfile.open(archived) as packed:
        packed.extractall(ROOT / place, filter="data")
    (top,) = (ROOT / place).iterdir()
    inside = place / top.name
    arguments = {"PROGRAM": f"{inside}/otelcol-xdp", "LICENSES": f"{inside}/licenses"}
    return _build("collector/Containerfile", architecture, cached, arguments)


def write(dist: Path, registry: str, source: str, name: str, images: Iterable[Image]) -> None:
    """
    Write one index of all *images*, NAME-VERSION.oci.tar; it is loaded as REGISTRY/NAME:VERSION.

    *source* is the URL of the repository, a label of each image; or empty.
    """
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    manifests = []
    for image in images:
        layer = archive.pack(image.files)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": add(_configuration(image, layer, source), "config.v1+json"),
            "layers": [add(archive.compress(layer), "layer.v1.tar+gzip")],
        }
        platform = {"os": "linux", "architecture": image.architecture}
        manifests.append({**add(_json(manifest), "manifest.v1+json"), "platform": platform})
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": manifests}
    # Under which name podman loads it, and containerd.
    reference = f"{registry or 'localhost'}/{name}:{__version__}"
    names = {f"{_LABEL}.ref.name": reference, "io.containerd.image.name": reference}
    entry = {**add(_json(index), "index.v1+json"), "annotations": names}
    top = {"schemaVersion": 2, "manifests": [entry]}
    blobs |= {"index.json": _json(top), "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    target = dist / f"{name}-{__version__}.oci.tar"
    target.write_bytes(archive.pack(archive.file(*blob) for blob in blobs.items()))


def _build(
    containerfile: str, architecture: str, cached: bool, more: Mapping[str, str] | None = None
) -> Image:
    arguments = {
        **(more or {}),
        "BASE_IMAGE": os.environ["BASE_IMAGE"],
        "BUILDPLATFORM": f"linux/{of_this_machine()}",
        "VERSION": __version__,
        "REVISION": run("git", "rev-parse", "HEAD").strip(),
    }
    flags = (
        *(() if cached else ("--no-cache",)),
        *shlex.split(os.environ["IMAGE_FLAGS"]),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()),
    )
    tool = os.environ["CONTAINER_TOOL"]
    tag = f"localhost/xdp-otel-release/{containerfile.lower()}:{architecture}"
    platform = f"--platform=linux/{architecture}"
    run(tool, "build", *flags, platform, f"--file={containerfile}", f"--tag={tag}", ".")
    (about,) = json.loads(run(tool, "image", "inspect", tag))
    container = run(tool, "create", platform, tag).strip()
    with tempfile.TemporaryDirectory() as directory:
        exported = Path(directory) / "files.tar"
        run(tool, "export", f"--output={exported}", container)
        files = archive.read(exported)
    run(tool, "rm", container)
    run(tool, "rmi", tag)
    return Image(architecture, files, about["Config"])


def _configuration(image: Image, layer: bytes, source: str) -> bytes:
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    created = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {name: text for name, text in image.config["Labels"].items() if "buildah" not in name}
    labels[f"{_LABEL}.created"] = created
    if source:
        labels[f"{_LABEL}.source"] = source
    config: dict[str, object] = {**image.config, "Labels": labels}
    return _json(
        {
            "created": created,
            "os": "linux",
            "architecture": image.architecture,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": created, "created_by": "make release"}],
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
