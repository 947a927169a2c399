# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel attach` and `xdp-otel detach`: the shipped program on interfaces, without a running sidecar."""

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from sidecar.config import direction_from, exclusions_from, interfaces_from, packet_sizes_from
from sidecar.describe.directions import CHOICES, DEFAULT
from sidecar.describe.spec import MapRef, SourceSpec
from sidecar.errors import SidecarError
from sidecar.kernel import elsewhere, xdp
from sidecar.kernel.interface import AUTO, Interface, interfaces_with_pins, is_pattern
from sidecar.sources import locate

log = logging.getLogger(__name__)


def attach(flags: argparse.Namespace) -> int:
    """Attach to each interface; then raise the first SidecarError, if there was one."""
    direction = direction_from(flags, os.environ)
    sizes = packet_sizes_from(flags, os.environ)
    export = "" if direction == DEFAULT else f" --direction {direction}"
    export += " --packet-sizes" if sizes else ""

    def start(interface: Interface) -> None:
        for each in CHOICES[direction]:
            one = replace(interface, direction=each)
            xdp.attach(one.sizes if sizes else one)
        log.info("%s: counting; export with `xdp-otel --interface %s%s`", interface, interface.name, export)

    _each(_chosen(flags, _present), start)
    return 0


def detach(flags: argparse.Namespace) -> int:
    """Detach from each interface and remove the pins; then raise the first SidecarError, if there was one."""

    def stop(interface: Interface) -> None:
        detached = xdp.detach(interface)
        log.info("%s: %s", interface, "detached, pins removed" if detached else _not_attached(interface))

    _each(_chosen(flags, _attached), stop)
    return 0


def _each(interfaces: Sequence[Interface], step: Callable[[Interface], None]) -> None:
    errors = []
    for interface in interfaces:
        try:
            step(interface)
        except SidecarError as error:
            errors.append(error)
    for other in errors[1:]:
        log.error("%s", other)
    if errors:
        raise errors[0]


def _chosen(
    flags: argparse.Namespace, members: Callable[[SourceSpec], Sequence[Interface]]
) -> Sequence[Interface]:
    """Return the interfaces of the flags, with the *members* of a pattern in its place."""
    exclude = exclusions_from(flags, os.environ)
    chosen: dict[str, Interface] = {}
    for interface in interfaces_from(flags):
        found: Sequence[Interface] = (interface,)
        if is_pattern(interface.name):
            place = MapRef("interface", interface.name, interface.netns)
            found = members(SourceSpec(place, exclude=exclude))
            if not found:
                log.info("%s: no such interface", interface)
        for each in found:
            chosen.setdefault(str(each), each)
    return list(chosen.values())


def _present(spec: SourceSpec) -> Sequence[Interface]:
    found = (locate.interface_of(member.map_ref) for member, _ in locate.expanded([spec]))
    return [interface for interface in found if interface]


def _attached(spec: SourceSpec) -> Sequence[Interface]:
    """Return all that have pins, whatever they are called now, and whether or not they have a route."""
    place, pattern = spec.map_ref.netns, spec.map_ref.value
    return [
        interface
        for interface in interfaces_with_pins()
        if interface.netns == place
        and (pattern == AUTO or fnmatchcase(interface.name, pattern))
        and not any(fnmatchcase(interface.name, each) for each in spec.exclude)
    ]


def _not_attached(interface: Interface) -> str:
    twins = ", ".join(map(elsewhere.describe, elsewhere.twins(interface)))
    return f"not attached by xdp-otel{f', which is attached to {twins}' if twins else ''}"
