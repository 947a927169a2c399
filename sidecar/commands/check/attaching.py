# SPDX-License-Identifier: Apache-2.0
"""Whether `run` can attach the shipped program to an interface, and what that will do to the interface."""

from collections.abc import Sequence

from sidecar.commands.check.forecast import COST, Mode, blocked_by, describe, forecast
from sidecar.commands.check.rows import Rows
from sidecar.errors import RightsError, SidecarError, SourceError
from sidecar.kernel import cpus, dispatcher, features, interface_facts, netlink, netns
from sidecar.kernel.capabilities import Capability, missing
from sidecar.kernel.interface import Interface, index_of, no_such_interface
from sidecar.kernel.interface_facts import InterfaceFacts
from sidecar.kernel.libbpf import LOAD_RIGHTS


def require_attachable(interface: Interface) -> None:
    """Raise SidecarError if `run` could not attach: no interface, a foreign program, missing rights."""
    what = f"attach to {interface.name}"
    if interface.direction == "transmit":
        with netns.entered(interface.netns):
            index_of(interface, what)
            features.require_tcx(what)
        _require_rights(LOAD_RIGHTS, what)
        return
    facts = facts_of(interface)
    for _, prog_id in facts.link.programs:
        if not dispatcher.pins_of(facts.link.ifindex, prog_id):
            raise SourceError(
                what,
                f"it carries another XDP program (id {prog_id}), which is not replaced",
                f"read its maps instead (--map-name {interface.name}:NAME): `xdp-otel discover` shows how",
            )
    if not facts.link.programs and (upper := blocked_by(facts)) and features.refuses_below_programs():
        raise SourceError(
            what,
            f"{upper.name} on top of it carries an XDP program, and the kernel then refuses one below",
            f"count on {upper.name}, or detach that program and attach to {interface.name} first",
        )
    _require_rights(dispatcher.RIGHTS if facts.link.programs else LOAD_RIGHTS, what)


def _require_rights(rights: Sequence[Capability], what: str) -> None:
    lacking = missing(*rights)
    if lacking:
        names = " and ".join(map(str, lacking))
        raise RightsError(what, f"without {names}", "run as root, or add the missing capabilities")


def facts_of(interface: Interface) -> InterfaceFacts:
    """
    Return what the kernel says about an interface.

    Raises:
        SourceError: There is no such interface.
        SidecarError: Its network namespace cannot be entered, or the kernel does not answer.

    """
    with netns.entered(interface.netns):
        links = netlink.links()
        link = next((link for link in links if link.name == interface.name), None)
        if link is None:
            raise no_such_interface(f"attach to {interface.name}", interface)
        return interface_facts.facts_of(link, links)


def show_forecast(interface: Interface, rows: Rows) -> None:
    """Print how the program will be attached to an interface, or has been, and what that does."""
    if interface.direction == "transmit" or interface.counted == "sizes":
        return  # at the TCX hook, which is the kernel's, not a driver's; or by the program of the packets
    label = f"attaching to {interface}"
    try:
        facts = facts_of(interface)
    except SidecarError as error:
        rows.failed(label, error)
        return
    if facts.link.programs:
        _show_present(facts, interface, rows)
        return
    expected = forecast(facts)
    say = rows.ok if expected.mode is Mode.NATIVE else rows.warned
    described = describe(facts, len(cpus.possible_cpus()))
    say(label, f"{expected.mode.value}: {expected.why}", described, *expected.notes)


def _show_present(facts: InterfaceFacts, interface: Interface, rows: Rows) -> None:
    mode, prog_id = facts.link.programs[0]
    if dispatcher.pins_of(facts.link.ifindex, prog_id):
        rows.ok(f"attaching to {interface}", f"next to other programs by libxdp, in {mode} mode as they are")
    elif mode == "generic":
        rows.warned(f"attached to {interface}", f"generic mode: {COST}")
