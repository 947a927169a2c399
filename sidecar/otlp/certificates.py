# SPDX-License-Identifier: Apache-2.0
"""The files that TLS needs, reloaded when they are replaced on disk."""

import json
import logging
import os
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sidecar.errors import ConfigError, explain
from sidecar.otlp.endpoint import Endpoint

log = logging.getLogger(__name__)

_CHECK_TIMEOUT_S = 10.0


class Pem(NamedTuple):
    """What the files hold, in PEM; None for a file that is not named."""

    roots: bytes | None
    key: bytes | None
    chain: bytes | None


class CertificateFiles:
    """Trusted roots, client key and client certificate of one endpoint; each may be absent."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read nothing until `read`."""
        self._files = {
            "CERTIFICATE": endpoint.certificate,
            "CLIENT_KEY": endpoint.client_key,
            "CLIENT_CERTIFICATE": endpoint.client_certificate,
        }
        self._settings = dict(zip(self._files, endpoint.file_settings, strict=True))
        self._loaded = self._versions()

    def changed(self) -> bool:
        """Return whether a file was replaced since `read`."""
        return self._versions() != self._loaded

    def read(self) -> Pem:
        """Return the files' contents; raise ConfigError if one cannot be read, or used with the others."""
        self._loaded = self._versions()
        pem = Pem(*(_read(path, self._settings[name]) for name, path in self._files.items()))
        if misfit := _misfit(*pem):
            name, cause = misfit
            raise ConfigError(f"use {self._files[name]}", cause, _remedy(self._settings[name]))
        return pem

    def _versions(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_version(path) for path in self._files.values() if path is not None)


def built_in_roots() -> str:
    """Return the file that gRPC takes its roots from, without importing gRPC."""
    package = find_spec("grpc")
    assert package is not None and package.origin  # noqa: S101, PT018  # it is a dependency
    named = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    return named or str(Path(package.origin).parent / "_cython/_credentials/roots.pem")


def _version(path: str) -> tuple[int, int] | None:
    try:
        # Kubernetes swaps a symlink to replace a secret: the new target has another inode.
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def _remedy(setting: str) -> str:
    return f"name a readable PEM file in {setting}"


@lru_cache(maxsize=1)
def _misfit(roots: bytes | None, key: bytes | None, chain: bytes | None) -> tuple[str, str] | None:
    """Return which file cannot be used and why, or None, also if the check itself fails."""
    if roots is None and chain is None:
        return None
    import subprocess  # noqa: PLC0415  # memory that only certificates need

    texts = [None if text is None else text.decode("latin-1") for text in (roots, key, chain)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", Path(__file__).with_name("certificate_check.py")],
            input=json.dumps(texts).encode(),
            capture_output=True,
            timeout=_CHECK_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("cannot check certificates: %s: going on without", error)
        return None
    return tuple(json.loads(done.stdout)) if done.stdout else None


def _read(path: str | None, setting: str) -> bytes | None:
    if path is None:
        return None
    remedy = _remedy(setting)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"read {path}", explain(error), remedy) from None
    # gRPC would only report a failed handshake at each call.
    if b"-----BEGIN " not in content:
        raise ConfigError(f"read {path}", "not in PEM format", remedy)
    return content
