# SPDX-License-Identifier: Apache-2.0
"""The sources that are open, and how they change: by another configuration, and as members come and go."""

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.describe.spec import SourceSpec
from sidecar.errors import Collector, SidecarError, SourceError, machine_error
from sidecar.kernel.interface_lock import InterfaceLock
from sidecar.log_fields import about
from sidecar.sources import locate
from sidecar.sources.distinct import tell_apart
from sidecar.sources.source import Source, boot_id
from sidecar.state.record import Record
from sidecar.state.retention import Retention, living_maps

if TYPE_CHECKING:
    from sidecar.sources.pattern import Pattern

log = logging.getLogger(__name__)

# As long as something else changes all the time.
_SHORTEST_RETRY_S = 1.0
# The end of the name of a source that is one of several on its interface.
_WHAT_IS_COUNTED = re.compile("(/transmit)?(/sizes)?$")


@dataclass(frozen=True, eq=False)
class _Open:
    """An open source, its own specification, and the pattern that it is a member of, if it is."""

    spec: SourceSpec
    source: Source
    pattern: "Pattern | None" = None
    is_gone: bool = False


@dataclass(frozen=True)
class _Refusal:
    """Why a member of a pattern, or all of them, are left out; *at* is monotonic, seconds."""

    pattern: "Pattern"
    cause: str
    at: float


class SourceSet:
    """
    All sources of one configuration, open and told apart, with the locks of their interfaces.

    A specification that stands for many (`sources.pattern`) has a source for each of its members. One that
    cannot be opened is left out, logged once for each reason, and tried again whenever members are looked at.

    Attributes:
        specs: The specifications of the configuration.
        sources: The open sources: in the same order, then the members that came later.

    """

    def __init__(self) -> None:
        """Open nothing yet."""
        self.specs: Sequence[SourceSpec] = ()
        self.sources: Sequence[Source] = ()
        self._open: list[_Open] = []
        self._patterns: Sequence[Pattern] = ()
        # By the name of the source.
        self._refused: dict[str, _Refusal] = {}
        # The patterns of members that were refused a moment ago, and may be admitted by now.
        self._postponed: set[Pattern] = set()
        self._ended_maps: set[int] = set()
        self.on_fds: Callable[[Collection[int]], None] = lambda _: None
        """Called with the descriptors that become readable when `follow` has something to do."""
        # By directory of pins: an interface has one lock for both directions.
        self._locks: dict[Path, InterfaceLock] = {}

    @property
    def opened(self) -> Sequence[tuple[SourceSpec, Source]]:
        """The open sources, each with its own specification: a member's is not that of its pattern."""
        return [(each.spec, each.source) for each in self._open if not each.is_gone]

    @property
    def patterns(self) -> Sequence[SourceSpec]:
        """The specifications that stand for many, and what their members may need."""
        return [place for pattern in self._patterns for place in pattern.places]

    @property
    def gone(self) -> set[Source]:
        """The members that have gone, and whose last counts may not be delivered yet."""
        return {each.source for each in self._open if each.is_gone}

    @property
    def interfaces(self) -> Mapping[str, int]:
        """How many interfaces are attached, refused or gone in some direction; empty without a pattern."""
        if not self._patterns:
            return {}
        opened = {
            (each.is_gone, interface.name, interface.netns, interface.index)
            for each in self._open
            if (interface := locate.interface_of(each.spec.map_ref))
        }
        refused = {_WHAT_IS_COUNTED.sub("", name) for name in self._refused if name.startswith("interface:")}
        gone = sum(is_gone for is_gone, *_ in opened)
        return {"attached": len(opened) - gone, "refused": len(refused), "gone": gone}

    def open(self, specs: Sequence[SourceSpec]) -> None:
        """
        Open these sources in place of the present ones.

        A source that was open already keeps its maps, also if only we keep them alive. A member that has gone
        stays until its last counts are delivered.

        Raises:
            SidecarError: One of them cannot be opened, or no member of a pattern can. The present ones stay
                as they are.

        """
        before, patterns_before, refused_before = self._open, self._patterns, self._refused
        patterns = [self._pattern(spec) for spec in specs]
        self._refused = {}
        try:
            found = self._opened(specs, patterns)
        except BaseException:
            self._refused = refused_before
            _close_others(patterns, patterns_before)
            raise
        names = {each.source.name for each in found}
        self._patterns = [pattern for pattern in patterns if pattern]
        self.specs = specs
        self._keep([*found, *(each for each in before if each.is_gone and each.source.name not in names)])
        for each in before:
            if each not in self._open:
                each.source.close()
        _close_others(patterns_before, self._patterns)
        self._release_locks()
        self._tell_fds()

    def check(self, specs: Sequence[SourceSpec]) -> None:
        """Raise SidecarError if `open` would; change nothing but what an interface needs to be attached."""
        patterns = [self._pattern(spec) for spec in specs]
        refused, self._refused = self._refused, {}
        try:
            for each in self._opened(specs, patterns):
                each.source.close()
        finally:
            self._refused = refused
            _close_others(patterns, self._patterns)
            self._release_locks()

    def follow(self) -> bool:
        """
        Open the members of patterns that have come, and read only what is held of those that have gone.

        Return whether there are other sources now. The present batch does not matter: a source that has come
        begins with the next one.
        """
        postponed, self._postponed = self._postponed, set()
        due = [pattern for pattern in self._patterns if pattern.is_due() or pattern in postponed]
        before = self._open
        for pattern in due:
            self._follow(pattern)
        if due:
            self._tell_fds()
        return self._open is not before

    def let_go(self, sources: Collection[Source]) -> None:
        """Close members whose last counts were delivered, and clear away what is left of them."""
        for each in [each for each in self._open if each.is_gone and each.source in sources]:
            map_id = each.source.info.id
            each.source.close()
            with _logged(each.source.name):
                if each.pattern and each.pattern.delivered(each.spec):
                    self._ended_maps.add(map_id)
            self._keep([other for other in self._open if other is not each])
            log.info("its last counts were delivered: let go", extra=about(each.source.name))
        self._release_locks()

    def retained(self, record: Record) -> Record:
        """Return the part of the record that the next process would keep with these sources."""
        names = {source.name for source in self.sources}
        ended, self._ended_maps = self._ended_maps, set()
        return Retention(names, boot_id(), living_maps(), ended).retain(record)

    def close(self) -> None:
        """Close all sources and release the locks."""
        for source in self.sources:
            source.close()
        _close_others(self._patterns, ())
        self._patterns = self.specs = ()
        self._keep([])
        self._release_locks()

    def _keep(self, opened: list[_Open]) -> None:
        self._open = opened
        self.sources = [each.source for each in opened]

    def _tell_fds(self) -> None:
        self.on_fds([pattern.fd for pattern in self._patterns if pattern.fd is not None])

    def _pattern(self, spec: SourceSpec) -> "Pattern | None":
        """Return the pattern, the present one if there is one: it knows its members."""
        present = (pattern for pattern in self._patterns if pattern.spec == spec)
        return next(present, None) or locate.pattern(spec)

    def _opened(self, specs: Sequence[SourceSpec], patterns: Sequence["Pattern | None"]) -> list[_Open]:
        present = {source.name: source for source in self.sources}
        found: dict[str, _Open] = {}
        with ExitStack() as stack:
            stack.callback(self._release_locks)

            def add(spec: SourceSpec, pattern: "Pattern | None" = None, *, is_gone: bool = False) -> None:
                source = locate.source(spec, self._lock(spec))
                if pattern and source.name in found:
                    return  # another specification reads it
                stack.callback(source.close)
                source.open(present.get(source.name))
                if is_gone:
                    source.retire()
                found[source.name] = _Open(spec, source, pattern, is_gone)

            errors = Collector()
            for spec, pattern in zip(specs, patterns, strict=True):
                if pattern is None:
                    errors.take(lambda spec=spec: add(spec), None)  # type: ignore[misc]
            for pattern in filter(None, patterns):
                errors.take(lambda pattern=pattern: self._add_members(pattern, add), None)  # type: ignore[misc]
            errors.raise_all()
            tell_apart([each.source for each in found.values()])
            stack.pop_all()
        return list(found.values())

    def _add_members(self, pattern: "Pattern", add: Callable[..., None]) -> None:
        """Add the members that there are now; raise SidecarError if the machine admits none of them."""
        errors = []
        members = pattern.members()
        for spec in members:
            try:
                add(spec, pattern)
            except SidecarError as error:
                errors.append(error)
                self._refuse(locate.name_of(spec), pattern, error)
        if (
            members
            and len(errors) == len(members)
            and not any(isinstance(each, SourceError) for each in errors)
        ):
            raise errors[0]
        for spec in pattern.left_behind():
            with _logged(locate.name_of(spec)):
                add(spec, pattern, is_gone=True)
                log.info("gone: its last counts are being delivered", extra=about(locate.name_of(spec)))
        if not members:
            log.info("%s: nothing matches yet: waiting", pattern.spec.map_ref)

    def _follow(self, pattern: "Pattern") -> None:
        itself = str(pattern.spec.map_ref)
        try:
            members = {locate.name_of(spec): spec for spec in pattern.members()}
        except SidecarError as error:
            self._refuse(itself, pattern, error)
            return
        for name, left_out in list(self._refused.items()):
            if left_out.pattern is pattern and name not in members:
                del self._refused[name]
        mine = {each.source.name: each for each in self._open if each.pattern is pattern and not each.is_gone}
        for name, each in mine.items():
            if name not in members:
                self._retire(each)
        others = {each.source.name for each in self._open if each.pattern is not pattern}
        for name, spec in members.items():
            if name in others or (name in mine and mine[name].spec == spec):
                continue
            refusal = self._refused.get(name)
            if refusal and time.monotonic() - refusal.at < _SHORTEST_RETRY_S:
                self._postponed.add(pattern)
            else:
                self._join(spec, pattern)

    def _join(self, spec: SourceSpec, pattern: "Pattern") -> None:
        name = locate.name_of(spec)
        before = next((each for each in self._open if each.source.name == name), None)
        others = [each for each in self._open if each is not before]
        source = locate.source(spec, self._lock(spec))
        source.join([each.source for each in others])
        try:
            source.open(before.source if before else None)
        except (SidecarError, OSError) as error:
            source.close()
            self._release_locks()
            if before and not before.is_gone:
                self._retire(before)
            # It may have gone meanwhile, and then nothing was refused.
            if name in {locate.name_of(each) for each in pattern.members()}:
                self._refuse(name, pattern, error)
            return
        self._refused.pop(name, None)
        self._keep([*others, _Open(spec, source, pattern)])
        for each in others:
            each.source.join(self.sources)
        source.join(self.sources)
        if before:
            before.source.close()
        log.info("new: map %s, id %d", source.info.name, source.info.id, extra=about(name))

    def _retire(self, member: _Open) -> None:
        with _logged(member.source.name):
            if member.pattern:
                member.pattern.ended(member.spec)
        member.source.retire()
        gone = _Open(member.spec, member.source, member.pattern, is_gone=True)
        self._keep([gone if each is member else each for each in self._open])
        log.info("gone: its last counts are being delivered", extra=about(member.source.name))

    def _refuse(self, name: str, pattern: "Pattern", error: SidecarError | OSError) -> None:
        cause, before = _text(error), self._refused.get(name)
        self._refused[name] = _Refusal(pattern, cause, time.monotonic())
        if before is None or before.cause != cause:
            log.error("left out: %s", cause, extra=about(name))

    def _lock(self, spec: SourceSpec) -> InterfaceLock | None:
        interface = locate.interface_of(spec.map_ref)
        # A second lock of ours would be refused as another sidecar's.
        return (
            self._locks.setdefault(interface.pin_directory, InterfaceLock(interface)) if interface else None
        )

    def _release_locks(self) -> None:
        """Release the locks of interfaces that no open source has."""
        interfaces = filter(None, (locate.interface_of(each.spec.map_ref) for each in self._open))
        for directory in self._locks.keys() - {interface.pin_directory for interface in interfaces}:
            self._locks.pop(directory).close()


def _text(error: SidecarError | OSError) -> str:
    return str((isinstance(error, OSError) and machine_error(error)) or error)


@contextmanager
def _logged(name: str) -> Iterator[None]:
    """Run the block; log the error that it raises: that one member keeps no other from being read."""
    try:
        yield
    except (SidecarError, OSError) as error:
        log.error("%s", _text(error), extra=about(name))


def _close_others(patterns: Sequence["Pattern | None"], kept: Sequence["Pattern"]) -> None:
    for pattern in patterns:
        if pattern and pattern not in kept:
            pattern.close()
