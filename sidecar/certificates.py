# SPDX-License-Identifier: Apache-2.0
"""The files that TLS needs, read again when they are replaced on disk."""

from pathlib import Path

from sidecar.errors import ConfigError, explain
from sidecar.lean_grpc import grpc
from sidecar.otlp_endpoint import Endpoint


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
        """Read the files; raise ConfigError if one cannot be read."""
        self._loaded = self._versions()
        contents = {variable: _read(path, variable) for variable, path in self._files.items()}
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


def _read(path: str | None, variable: str) -> bytes | None:
    if path is None:
        return None
    remedy = f"name a readable PEM file in OTEL_EXPORTER_OTLP_{variable}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"read {path}", explain(error), remedy) from None
    # gRPC would only say at each call that the handshake failed.
    if b"-----BEGIN " not in content:
        raise ConfigError(f"read {path}", "not in PEM format", remedy)
    return content
