# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel attach` and `xdp-otel detach`: the shipped program on interfaces, with no sidecar running."""

import argparse
import logging

from sidecar.config import interfaces_from
from sidecar.kernel import xdp

log = logging.getLogger(__name__)


def attach(flags: argparse.Namespace) -> int:
    """Attach to each interface; raise SidecarError for the first where that cannot be done."""
    for interface in interfaces_from(flags):
        xdp.attach(interface)
        log.info("%s is counted; read it with `xdp-otel --interface %s`", interface, interface.name)
    return 0


def detach(flags: argparse.Namespace) -> int:
    """Detach from each interface and remove the pins; raise SidecarError as `attach` does."""
    for interface in interfaces_from(flags):
        done = xdp.detach(interface)
        log.info("%s: %s", interface, "detached, pins removed" if done else "was not attached by xdp-otel")
    return 0
