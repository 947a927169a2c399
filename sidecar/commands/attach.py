# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel attach` and `xdp-otel detach`: the shipped program on interfaces, without a running sidecar."""

import argparse
import logging
import os
from dataclasses import replace

from sidecar.config import direction_from, interfaces_from
from sidecar.describe.directions import CHOICES, DEFAULT
from sidecar.errors import SidecarError
from sidecar.kernel import elsewhere, xdp
from sidecar.kernel.interface import Interface

log = logging.getLogger(__name__)


def attach(flags: argparse.Namespace) -> int:
    """Attach to each interface; raise SidecarError at the first failure."""
    direction = direction_from(flags, os.environ)
    export = "" if direction == DEFAULT else f" --direction {direction}"
    for interface in interfaces_from(flags):
        for each in CHOICES[direction]:
            xdp.attach(replace(interface, direction=each))
        log.info("%s: counting; export with `xdp-otel --interface %s%s`", interface, interface.name, export)
    return 0


def detach(flags: argparse.Namespace) -> int:
    """Detach from each interface and remove the pins; then raise the first SidecarError, if there was one."""
    errors = []
    for interface in interfaces_from(flags):
        try:
            detached = xdp.detach(interface)
        except SidecarError as error:
            errors.append(error)
        else:
            log.info("%s: %s", interface, "detached, pins removed" if detached else _not_attached(interface))
    for other in errors[1:]:
        log.error("%s", other)
    if errors:
        raise errors[0]
    return 0


def _not_attached(interface: Interface) -> str:
    twins = ", ".join(map(elsewhere.describe, elsewhere.twins(interface)))
    return f"not attached by xdp-otel{f', which is attached to {twins}' if twins else ''}"
