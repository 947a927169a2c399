# SPDX-License-Identifier: Apache-2.0
"""The maps whose names a shell pattern stands for: `stats_*`; listing them takes CAP_SYS_ADMIN."""

from collections.abc import Sequence
from dataclasses import replace

from sidecar.describe import globs
from sidecar.describe.spec import SourceSpec
from sidecar.errors import from_os_error
from sidecar.kernel import syscall as bpf
from sidecar.kernel.capabilities import Capability, remedy
from sidecar.sources.pattern import Pattern


class NamedMaps(Pattern):
    """
    The maps with matching names, each name once.

    A map that is read exists for as long as it is held open here. So one that programs used is taken for gone
    when none does any more; one that no program ever used, when it is.
    """

    def __init__(self, spec: SourceSpec) -> None:
        """Look at nothing yet."""
        super().__init__(spec)
        self._used: set[int] = set()

    def members(self) -> Sequence[SourceSpec]:
        """Return the names that there are now; raise SidecarError if maps or programs cannot be listed."""
        pattern = self.spec.map_ref.value
        try:
            maps = [
                info for info in bpf.maps() if info.kind.is_readable and globs.matched(pattern, info.name)
            ]
            programs = bpf.programs() if maps else ()
            in_use = {number for program in programs for number in program.map_ids}
        except OSError as error:
            what, how = f"find maps {pattern}", "name the maps by their pins"
            rights = f"{remedy(Capability.SYS_ADMIN)}; or {how}"
            raise from_os_error(what, error, rights=rights, otherwise=how) from error
        self._used = {info.id for info in maps if info.id in self._used or info.id in in_use}
        names = {info.name for info in maps if info.id in in_use or info.id not in self._used}
        return [self._member(name) for name in sorted(names)]

    def _member(self, name: str) -> SourceSpec:
        attributes = self.spec.attributes
        return replace(
            self.spec,
            map_ref=replace(self.spec.map_ref, value=name, is_member=True),
            attributes=globs.filled(attributes, globs.matched(self.spec.map_ref.value, name) or ()),
            apart=not globs.has_placeholders(attributes),
        )
