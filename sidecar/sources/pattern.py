# SPDX-License-Identifier: Apache-2.0
"""
A specification that stands for any number of sources, which come and go while the sidecar runs.

A subclass of `Pattern` says which members exist now. `SourceSet.follow`, which the pipeline calls between
cycles, opens those that have come, as at a start. Those that have gone are read a last time, from the map
that is held open; they are let go once a batch with these counts is acknowledged, or given up for good.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from sidecar.describe.spec import SourceSpec


class Pattern(ABC):
    """
    What a specification stands for.

    A member is the specification with another `map_ref`, and so with all that the user wrote: its name, by
    `locate.name_of`, must stay the same for as long as it exists. A member whose `map_ref` changes under the
    same name is opened anew, and the maps that it held are delivered.
    """

    def __init__(self, spec: SourceSpec) -> None:
        """Take the specification that stands for many."""
        self.spec = spec

    @property
    def places(self) -> Sequence[SourceSpec]:
        """What it has to be able to open later, of which the rights are kept."""
        return (self.spec,)

    @property
    def fd(self) -> int | None:
        """A descriptor that becomes readable when `is_due` may be; None: it is looked at between cycles."""
        return None

    def is_due(self) -> bool:
        """Return whether the members may have changed since they were asked for."""
        return True

    @abstractmethod
    def members(self) -> Sequence[SourceSpec]:
        """Return the members that exist now; raise SidecarError if that is unknown: then none changes."""

    def left_behind(self) -> Sequence[SourceSpec]:
        """Return, at the start, the members that went while no sidecar ran, and whose counts can be read."""
        return ()

    def ended(self, member: SourceSpec) -> None:  # noqa: B027
        """Do what has to be done before a member that has gone is read a last time; raise SidecarError."""

    def delivered(self, member: SourceSpec) -> bool:  # noqa: ARG002
        """
        Clear away what is left of a member that has gone, whose last counts were delivered.

        Return whether its maps end with that: the journal forgets them then. Raises SidecarError.
        """
        return False

    def close(self) -> None:  # noqa: B027
        """Release what the pattern holds."""
