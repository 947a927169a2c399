# SPDX-License-Identifier: Apache-2.0
"""Who is speaking: the OTLP resource, and the instance id that tells one sidecar from every other."""

import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from sidecar.errors import StateError, explain, printable
from sidecar.kernel import trusted
from sidecar.model import Attribute

SERVICE_NAME = "xdp-packet-counter"
_NAME, _NEW = "instance-id", "instance-id.new"
_LARGEST = 100
_NAMESPACE = uuid.UUID("6f2b6f0c-2c43-4f0e-9a53-0d4c6d8f7b11")


def resource_attributes(state_dir: Path) -> tuple[Attribute, ...]:
    """
    Return the resource's attributes, sorted by key.

    `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` win over what is found here. They are read by the SDK's
    own detector.

    Raises:
        StateError: The instance id cannot be kept in *state_dir*.

    """
    told = OTELResourceDetector().detect().attributes
    # The kernel takes any bytes for a host's name.
    host = printable(socket.gethostname())
    found: dict[str, str] = {"service.name": SERVICE_NAME, "host.name": host}
    if "service.instance.id" not in told:
        found["service.instance.id"] = _instance_id(state_dir)
    merged = Resource(found).merge(Resource(told)).attributes
    return tuple(sorted((key, str(value)) for key, value in merged.items()))


def keep_instance_id(state_dir: Path, resource: Sequence[Attribute]) -> None:
    """Write the instance id down again in a state directory that was made again; raise StateError."""
    if "service.instance.id" not in OTELResourceDetector().detect().attributes:
        with _in_directory(state_dir) as directory_fd:
            _write_id(str(dict(resource)["service.instance.id"]), directory_fd)


def _instance_id(state_dir: Path) -> str:
    """
    Return the id in the state directory, made at the first start.

    It is derived from machine, host name and directory, not drawn, so that a lost state directory does not
    make a second series of the same counts; without a machine id it is drawn.
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
        return str(uuid.UUID(trusted.read_file(_NAME, directory_fd, _LARGEST).decode().strip()))
    except (FileNotFoundError, ValueError):
        return None  # none yet; or no id, or no file of ours, which makes room for one


def _write_id(made: str, directory_fd: int) -> str:
    trusted.write_file(_NEW, directory_fd, [f"{made}\n".encode()])
    os.rename(_NEW, _NAME, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    return made


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
        # `uuid.uuid5` takes it from hashlib, which loads OpenSSL: 3.5 MB.
        from _sha1 import sha1  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError:
        return uuid.uuid5(_NAMESPACE, printable(name, None))
    return uuid.UUID(bytes=sha1(_NAMESPACE.bytes + os.fsencode(name)).digest()[:16], version=5)
