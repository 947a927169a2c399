# SPDX-License-Identifier: Apache-2.0
"""The files that TLS needs, read again when they are replaced on disk."""

import json
import logging
import sys
from functools import lru_cache
from pathlib import Path

from sidecar.errors import ConfigError, explain
from sidecar.otlp.endpoint import Endpoint
from sidecar.otlp.lean_grpc import grpc

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0


class CertificateFiles:
    """Trusted roots, client key and client certificate of one endpoint; each may be absent."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Read nothing yet."""
        self._files = {
            "CERTIFICATE": endpoint.certificate,
            "CLIENT_KEY": endpoint.client_key,
            "CLIENT_CERTIFICATE": endpoint.client_certificate,
        }
        self._loaded = self._versions()

    def changed(self) -> bool:
        """Return whether a file was replaced since `load`."""
        return self._versions() != self._loaded

    def load(self) -> grpc.ChannelCredentials:
        """Read the files; raise ConfigError if one cannot be read, or cannot be used with the others."""
        self._loaded = self._versions()
        contents = {variable: _read(path, variable) for variable, path in self._files.items()}
        if misfit := _misfit(contents["CERTIFICATE"], contents["CLIENT_KEY"], contents["CLIENT_CERTIFICATE"]):
            variable, cause = misfit
            raise ConfigError(f"use {self._files[variable]}", cause, _remedy(variable))
        return grpc.ssl_channel_credentials(
            root_certificates=contents["CERTIFICATE"],
            private_key=contents["CLIENT_KEY"],
            certificate_chain=contents["CLIENT_CERTIFICATE"],
        )

    def _versions(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_version(path) for path in self._files.values() if path is not None)


def _version(path: str) -> tuple[int, int] | None:
    try:
        # Kubernetes replaces a secret by a symlink: what it points to has another inode.
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _remedy(variable: str) -> str:
    return f"name a readable PEM file in OTEL_EXPORTER_OTLP_{variable}"


@lru_cache(maxsize=1)
def _misfit(roots: bytes | None, key: bytes | None, chain: bytes | None) -> tuple[str, str] | None:
    """Return which of the files cannot be used and why, or None: also if that cannot be found out."""
    if roots is None and chain is None:
        return None
    import subprocess  # noqa: PLC0415  # only who has such files pays

    texts = [None if one is None else one.decode("latin-1") for one in (roots, key, chain)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", Path(__file__).with_name("certificate_check.py")],
            input=json.dumps(texts).encode(),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("check certificates: %s: going on without", error)
        return None
    return tuple(json.loads(done.stdout)) if done.stdout else None


def _read(path: str | None, variable: str) -> bytes | None:
    if path is None:
        return None
    remedy = _remedy(variable)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"read {path}", explain(error), remedy) from None
    # gRPC would only say at each call that the handshake failed.
    if b"-----BEGIN " not in content:
        raise ConfigError(f"read {path}", "not in PEM format", remedy)
    return content
