# SPDX-License-Identifier: Apache-2.0
"""`xdp-otel run`: build the parts from the configuration and run the pipeline until a signal."""

import contextlib
import gc
import logging
import os
import select
import shlex
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from sidecar.config import Config
from sidecar.delivery import Delivery
from sidecar.describe.spec import SourceSpec
from sidecar.errors import placed
from sidecar.exporter import dialer
from sidecar.kernel.capabilities import Capability
from sidecar.kernel.terminal import has_terminal
from sidecar.log_fields import about
from sidecar.model import Attribute, Temporality
from sidecar.observe.otlp import encode_telemetry
from sidecar.observe.server import StatusServer
from sidecar.observe.service_manager import ServiceManager
from sidecar.observe.telemetry import Family, Telemetry
from sidecar.otlp.outcome import Delivered, Exporter
from sidecar.otlp.resource import keep_instance_id, resource_attributes
from sidecar.pipeline import Pipeline
from sidecar.reload import Reload
from sidecar.sources import locate, privileges, program_stats
from sidecar.sources.program_stats import ProgramStats
from sidecar.sources.source import Source
from sidecar.sources.source_set import SourceSet
from sidecar.state.journal import Journal, journal_name
from sidecar.state.lost_journal import NothingReported, ReportedMaps

log = logging.getLogger(__name__)

# Lost self-metrics are cumulative, so the next ones replace them: not worth a longer wait.
_SELF_METRICS_TIMEOUT_S = 0.5
# Python's own number is 700 to 2,000. As many objects as may be garbage at any time take 1 or 2 MB.
_OBJECTS_BETWEEN_COLLECTIONS = 10_000


def run(config: Config, reread: Callable[[], Sequence[SourceSpec]] | None = None) -> None:
    """
    Read and send until SIGTERM or SIGINT, or for one cycle with `--once`; at SIGHUP, change the sources.

    Args:
        config: The configuration.
        reread: Reads the sources of the configuration files again; raises SidecarError.

    Raises:
        SidecarError: Something cannot be used, which is found before the first cycle; or `--once` failed.

    """
    clock = _Clock()
    manager = ServiceManager(os.environ)
    opened = SourceSet()
    reload = Reload(opened, reread or (lambda: config.sources), manager)
    # Before anything that takes time: without a handler, SIGHUP ends the process.
    _on_hangup(clock, reload, once=config.once)
    telemetry = Telemetry()
    for warning in config.warnings:
        log.warning("%s", warning)
    with ExitStack() as cleanup:
        # Before the privileges to read its files are dropped.
        dial = dialer(config.endpoint)
        with placed(config.state_dir_variable):
            journal = Journal(config.state_dir, journal_name(sends=config.sends))
        cleanup.callback(journal.close)
        cleanup.callback(opened.close)
        opened.on_fds = clock.watch
        opened.open(config.sources)
        _log_maps(opened.sources)
        telemetry.interfaces = lambda: opened.interfaces
        telemetry.maps = lambda: {source.name: _map_info(source) for source in opened.sources}
        if config.program_stats:
            cleanup.callback(_count_runs(opened, telemetry))
        # Maps can be listed only before the privileges are dropped.
        journal.retain = opened.retained
        _drop_privileges(config, opened)
        pusher = dial()
        cleanup.callback(pusher.close)
        _log_endpoint(config)
        resource = resource_attributes(config.state_dir)
        journal.on_recreated = partial(keep_instance_id, config.state_dir, resource)
        _stop_on_signal(clock, pusher, manager)
        pipeline = _pipeline(config, opened, journal, pusher, resource, telemetry, clock)
        if config.status:
            cleanup.callback(_serve_status(config, config.status, telemetry, resource))
        if config.once:
            pipeline.once()
        else:
            _watch(config, manager, clock, telemetry)
            manager.ready()
            _spare_the_collector()
            pipeline.run(config.interval_s, reload)
        log.info("%s", _last_line(opened.specs))


def _spare_the_collector() -> None:
    """
    Have Python look less often for objects that refer to each other, and not among those that stay.

    A cycle makes thousands of objects if there are many sources; they live until the next one and end with
    their last reference. Looking through them took a seventh of the time.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def _last_line(specs: Sequence[SourceSpec]) -> str:
    """Return what stays when the process ends, and how to remove it."""
    by_netns: dict[str | None, dict[str, None]] = {}
    for spec in specs:
        if interface := locate.interface_of(spec.map_ref):
            flags = by_netns.setdefault(interface.netns, {})
            flags[f"--interface {shlex.quote(interface.name)}"] = None
            for pattern in spec.exclude:
                flags[f"--exclude-interface {shlex.quote(pattern)}"] = None
    commands = [
        " ".join(["xdp-otel detach", *([f"--netns {netns}"] if netns else []), *names])
        for netns, names in by_netns.items()
    ]
    remedy = f"; to remove the program: {' and '.join(commands)}" if commands else ""
    return f"stopped; the kernel keeps counting{remedy}"


def _log_maps(sources: Sequence[Source]) -> None:
    for source in sources:
        name, map_id, map_type = _map_info(source)
        extra = about(source.name, map=name, map_id=map_id)
        log.info("map %s, id %s, %s", name, map_id, map_type, extra=extra)


def _map_info(source: Source) -> tuple[str, int, str]:
    """Return name, id and type of the map that a source reads now."""
    return source.info.name, source.info.id, source.info.kind.name


def _drop_privileges(config: Config, opened: SourceSet) -> None:
    """Keep only the capabilities that are still needed, before any thread starts that would keep all."""
    places = [(spec, source.info) for spec, source in opened.opened]
    port = config.status[1] if config.status else None
    also = program_stats.RIGHTS if config.program_stats else frozenset[Capability]()
    privileges.drop(places, config.state_dir, port, config.endpoint.files, opened.patterns, also)


def _count_runs(opened: SourceSet, telemetry: Telemetry) -> Callable[[], None]:
    """Count the runs of the programs whose maps are read; return what ends that."""

    def maps() -> Mapping[int, str]:
        by_interface = [(source.info.id, locate.interface_of(spec.map_ref)) for spec, source in opened.opened]
        return {map_id: interface.name if interface else "" for map_id, interface in by_interface}

    stats = ProgramStats(maps)
    telemetry.programs = stats.read
    return stats.close


def _log_endpoint(config: Config) -> None:
    transport = "TLS" if config.endpoint.secure else "plaintext"
    log.info(
        "endpoint %s (%s), %s, every %g s",
        config.endpoint.target,
        transport,
        config.temporality.value,
        config.interval_s,
    )
    if config.temporality is Temporality.DELTA and not config.once:
        log.info(
            "without --base-point, a Collector that restarts begins its counters again at 0: add it if this "
            "is the Collector that ships with xdp-otel; other backends must not get it"
        )


def _pipeline(
    config: Config,
    opened: SourceSet,
    journal: Journal,
    pusher: Exporter,
    resource: Sequence[Attribute],
    telemetry: Telemetry,
    clock: "_Clock",
) -> Pipeline:
    delivery = Delivery(journal, pusher, clock, config.temporality, telemetry)
    reported_maps = ReportedMaps(config.state_dir) if config.sends else NothingReported()
    return Pipeline(
        opened.sources,
        resource,
        config.temporality,
        delivery,
        clock,
        telemetry,
        _after_delivery(config, pusher, resource, telemetry),
        reported_maps,
        delivers=config.sends,
        members=opened,
    )


def _after_delivery(
    config: Config, pusher: Exporter, resource: Sequence[Attribute], telemetry: Telemetry
) -> Callable[[], None]:
    """Return what sends the sidecar's own metrics, those of them that were asked for."""
    families: Callable[[], Iterable[Family]]
    if config.self_metrics:
        families = telemetry.families
    elif config.program_stats:
        families = telemetry.program_families
    else:
        return lambda: None
    start_ns = time.time_ns()

    def send() -> None:
        request = encode_telemetry(resource, families(), start_ns, time.time_ns())
        outcome = pusher.push(request, timeout_s=_SELF_METRICS_TIMEOUT_S)
        if not isinstance(outcome, Delivered):
            log.debug("cannot send the sidecar's own metrics (%s: %s)", outcome.code, outcome.message)

    return send


def _serve_status(
    config: Config, address: tuple[str, int], telemetry: Telemetry, resource: Sequence[Attribute]
) -> Callable[[], None]:
    # Between two steps of progress there is at most the wait for the next cycle, or one call's deadline.
    patience_s = 3 * config.interval_s + 2 * config.endpoint.timeout_s
    server = StatusServer(*address, telemetry, patience_s, resource)
    log.info("status at http://%s:%d/metrics", address[0] or "localhost", server.port)
    return server.close


def _watch(config: Config, manager: ServiceManager, clock: "_Clock", telemetry: Telemetry) -> None:
    """Feed the service manager's watchdog with the loop's own progress, and keep its status line."""
    if not manager.is_there:
        return
    # A single step takes at most one call's deadline.
    manager.allow(2 * config.endpoint.timeout_s)
    telemetry.on_progress = manager.alive

    def wait() -> None:
        waits_s = telemetry.unacknowledged_s()
        pending = f"; the next has waited for {waits_s:.0f} s" if waits_s else ""
        manager.status(f"batches delivered: {telemetry.batches['delivered']:,}{pending}")
        manager.alive()

    clock.on_wait = wait
    if manager.watchdog_s:
        clock.longest_s = manager.watchdog_s / 4


class _Clock:
    """
    The process's monotonic clock; a signal handler may call `wake` and `stop` at any moment to end its waits.

    Attributes:
        on_wait: Called when a wait begins, and again each *longest_s* seconds of it.

    """

    def __init__(self) -> None:
        self.on_wait: Callable[[], None] = lambda: None
        self.longest_s = 3600.0
        # Not a threading.Event: the wait that the handler interrupts may hold its lock.
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stopping = False
        # Not select(2), which takes no descriptor from 1024 on: each map has one.
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._watched: frozenset[int] = frozenset()

    def now(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        end = self.now() + seconds
        while not self._stopping:
            self.on_wait()
            left_s = max(0.0, end - self.now())
            if self._poll.poll(1000 * min(left_s, self.longest_s)):
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, select.PIPE_BUF)
                break
            if left_s <= self.longest_s:
                break
        return self._stopping

    def watch(self, fds: Collection[int]) -> None:
        """End each wait also when one of these descriptors, and of no others, is readable."""
        for fd in self._watched - frozenset(fds):
            self._poll.unregister(fd)
        for fd in frozenset(fds) - self._watched:
            self._poll.register(fd, select.POLLIN)
        self._watched = frozenset(fds)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    def stop(self) -> None:
        self._stopping = True
        self.wake()


def _stop_on_signal(clock: _Clock, pusher: Exporter, manager: ServiceManager) -> None:
    def stop(_number: int, _frame: object) -> None:
        manager.stopping()
        clock.stop()
        pusher.interrupt()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _on_hangup(clock: _Clock, reload: Reload, *, once: bool) -> None:
    """At SIGHUP reload; or end as by SIGTERM if it means that the terminal is gone."""
    by_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    had_terminal = has_terminal() and not by_nohup

    def hang_up(_number: int, _frame: object) -> None:
        if once or (had_terminal and not has_terminal()):
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reload.request()
            clock.wake()

    if not (once and by_nohup):
        signal.signal(signal.SIGHUP, hang_up)
