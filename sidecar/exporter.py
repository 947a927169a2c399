# SPDX-License-Identifier: Apache-2.0
"""Who sends to an endpoint."""

from collections.abc import Callable
from functools import partial

from sidecar.otlp.endpoint import NOWHERE, Endpoint
from sidecar.otlp.outcome import Exporter, Nowhere


def dialer(endpoint: Endpoint) -> Callable[[], Exporter]:
    """
    Return what makes the exporter for *endpoint*, by its protocol, once all that it needs can be read.

    It imports only what that protocol needs: gRPC takes most of the memory and of the time to start.

    Raises:
        ConfigError: A certificate or key cannot be read, or used.

    """
    if endpoint.target == NOWHERE:
        return Nowhere
    if endpoint.secure:
        from sidecar.otlp.certificates import CertificateFiles  # noqa: PLC0415

        CertificateFiles(endpoint).read()
    if endpoint.path:
        from sidecar.otlp_http import HttpPusher  # noqa: PLC0415

        return partial(HttpPusher, endpoint)
    from sidecar.otlp_push import Pusher  # noqa: PLC0415

    return partial(Pusher, endpoint)
