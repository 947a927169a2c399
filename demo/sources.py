# SPDX-License-Identifier: Apache-2.0
"""What `make run` counts: an interface, a pinned map, or the sources of a configuration file."""

from dataclasses import dataclass
from pathlib import Path

from demo.errors import DemoError
from sidecar.describe.file import sources
from sidecar.errors import SidecarError
from sidecar.kernel.interface import Interface
from sidecar.sources.locate import interface_of


@dataclass(frozen=True)
class Chosen:
    """The sidecar's flags, and the interfaces among the sources, to which it attaches its program."""

    flags: tuple[str, ...]
    interfaces: tuple[Interface, ...]


def chosen(interface: str | None, pin: str | None, config: str | None) -> Chosen:
    """Return the sources; raise DemoError if the file *config* cannot be used."""
    if interface:
        return Chosen(("--interface", interface), (Interface(interface),))
    if pin:
        return Chosen(("--map-path", pin), ())
    file = Path(config or "").resolve()
    try:
        found = [interface_of(spec.map_ref) for spec in sources.load(file)]
    except SidecarError as error:
        raise DemoError(str(error)) from error
    return Chosen(("--config", str(file)), tuple(one for one in found if one))
