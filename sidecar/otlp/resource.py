# SPDX-License-Identifier: Apache-2.0
"""The OTLP resource, and the instance id that distinguishes this sidecar from all others."""

import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from sidecar import __version__
from sidecar.errors import StateError, explain, printable
from sidecar.kernel import trusted
from sidecar.model import Attribute

SERVICE_NAME = "xdp-packet-counter"
_NAME, _NEW = "instance-id", "instance-id.new"
_LARGEST_ID_BYTES = 100
_NAMESPACE = uuid.UUID("6f2b6f0c-2c43-4f0e-9a53-0d4c6d8f7b11")


def resource_attributes(state_dir: Path) -> tuple[Attribute, ...]:
    """
    Return the resource's attributes, sorted by key; all are text, as the variables are.

    `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, read by the SDK's own detector, take precedence.

    Raises:
        StateError: The instance id cannot be kept in *state_dir*.

    """
    configured = OTELResourceDetector().detect().attributes
    # The kernel accepts any bytes as a host name.
    host = printable(socket.gethostname())
    defaults = {"service.name": SERVICE_NAME, "service.version": __version__, "host.name": host}
    if "service.instance.id" not in configured:
        defaults["service.instance.id"] = _instance_id(state_dir)
    merged = Resource(defaults).merge(Resource(configured)).attributes
    return tuple(sorted((key, str(value)) for key, value in merged.items()))


def keep_instance_id(state_dir: Path, resource: Sequence[Attribute]) -> None:
    """Write the instance id into a state directory that was recreated; raise StateError if that fails."""
    if "service.instance.id" not in OTELResourceDetector().detect().attributes:
        with _in_directory(state_dir) as directory_fd:
            _write_id(str(dict(resource)["service.instance.id"]), directory_fd)


def _instance_id(state_dir: Path) -> str:
    """
    Return the id in the state directory; the first start creates it.

    It is derived from machine id, host name and directory, so that the same counts do not become a second set
    of series when the state directory is lost. Without a machine id it is random.
    """
    with _in_directory(state_dir) as directory_fd:
        return _known_id(directory_fd) or _write_id(_derived_id(state_dir), directory_fd)


@contextmanager
def _in_directory(state_dir: Path) -> Iterator[int]:
    try:
        directory_fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield directory_fd
        finally:
            os.close(directory_fd)
    except OSError as error:
        what = f"keep the instance id in {state_dir / _NAME}"
        raise StateError(what, explain(error), "make it writable") from error


def _known_id(directory_fd: int) -> str | None:
    try:
        return str(uuid.UUID(trusted.read_file(_NAME, directory_fd, _LARGEST_ID_BYTES).decode().strip()))
    except (FileNotFoundError, ValueError):
        return None  # none yet; or not an id, or not our file: it is replaced


def _write_id(instance_id: str, directory_fd: int) -> str:
    trusted.write_file(_NEW, directory_fd, [f"{instance_id}\n".encode()])
    os.rename(_NEW, _NAME, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    return instance_id


def _derived_id(state_dir: Path) -> str:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except (OSError, ValueError):  # ValueError: not UTF-8
        machine = ""
    if not machine:
        return str(uuid.uuid4())
    return str(_uuid5("\n".join((machine, socket.gethostname(), str(state_dir.absolute())))))


def _uuid5(name: str) -> uuid.UUID:
    try:
        # `uuid.uuid5` uses hashlib, which loads OpenSSL: 3.5 MB.
        from _sha1 import sha1  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError:
        return uuid.uuid5(_NAMESPACE, printable(name, None))
    return uuid.UUID(bytes=sha1(_NAMESPACE.bytes + os.fsencode(name)).digest()[:16], version=5)
