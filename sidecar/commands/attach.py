# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel attach` and `xdp-otel detach`: the shipped program on interfaces, without a running sidecar."""

import argparse
import logging

from sidecar.config import interfaces_from
from sidecar.kernel import xdp

log = logging.getLogger(__name__)


def attach(flags: argparse.Namespace) -> int:
    """Attach to each interface; raise SidecarError at the first failure."""
    for interface in interfaces_from(flags):
        xdp.attach(interface)
        log.info("%s: counting; export with `xdp-otel --interface %s`", interface, interface.name)
    return 0


def detach(flags: argparse.Namespace) -> int:
    """Detach from each interface and remove the pins; raise SidecarError at the first failure."""
    for interface in interfaces_from(flags):
        detached = xdp.detach(interface)
        log.info("%s: %s", interface, "detached, pins removed" if detached else "not attached by xdp-otel")
    return 0
