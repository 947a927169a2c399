# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's process: the real pipeline with its real parts, built, saved and restored.

Between two steps a process is its objects and their attributes. It is restored from them, and two processes
are the same if these are equal, except for those that only affect the log or the length of a pause.
"""

import io
import pickle
from dataclasses import replace
from typing import Any, NamedTuple

from sidecar.errors import SidecarError
from sidecar.pipeline import Pipeline
from sidecar.schema import Schema
from sidecar.sources.source import Source
from sidecar.state.journal import Journal
from tests.model import edges
from tests.model.edges import HERE
from tests.model.network import Pusher
from tests.model.scenario import Scenario
from tests.packet_counter import SCHEMA

ONE_SUM = replace(SCHEMA, instruments=SCHEMA.instruments[:1])
# Attributes that refer to another object, never change, or affect nothing but the log and the pauses.
NO_STATE = {
    *("_sources", "_delivery", "_journal", "_pusher", "_clock", "_telemetry", "_after_delivery"),
    *("_resource", "_temporality", "_locate", "_resolve", "_counting_since_ns", "_follow"),
    *("_attempts", "_retry_at", "_most_bytes", "_ongoing", "_summary", "_trouble", "_report"),
    *("_reported_maps", "_watch", "_feeders", "_whole", "_failures", "_is_once", "stale"),
}


class Memory(NamedTuple):
    """A process between two steps: its pipeline, and the attributes of all its objects."""

    pipeline: Pipeline
    attributes: tuple[tuple[object, dict[str, Any]], ...]
    key: bytes


def held(memory: Memory) -> set[int]:
    """Return the ids of the maps that a process holds open."""
    return {held.info.id for _, attributes in memory.attributes for held in attributes.get("_maps", ())}


def cycle(process: Memory | Scenario) -> Memory | None:
    """Run one cycle, after starting the process if it does not run."""
    try:
        pipeline = _resumed(process)
    except SidecarError as error:
        HERE.decisions.note(f"not started: {error}")
        return None
    pipeline.cycle()
    return _saved(pipeline)


def shut_down(process: Memory | Scenario) -> None:
    """Do what SIGTERM causes, and end."""
    _resumed(process)._shutdown()


def once(process: Memory | Scenario) -> None:
    """Run with `--once`."""
    try:
        _resumed(process).once()
    except SidecarError as error:
        HERE.decisions.note(str(error))


def _resumed(process: Memory | Scenario) -> Pipeline:
    if isinstance(process, Scenario):
        return _start(process)
    for obj, attributes in process.attributes:
        obj.__dict__.clear()
        obj.__dict__.update({name: _copy(value) for name, value in attributes.items()})
    return process.pipeline


def _start(scenario: Scenario) -> Pipeline:
    environment = HERE.environment
    if environment.expected.wiped and not environment.disk.is_readable:
        HERE.environment = environment._replace(expected=environment.expected._replace(journal_lost=True))
    sources = [_source(number) for number in range(scenario.sources)]
    journal: Any = Journal(edges.Path())  # type: ignore[arg-type]
    for source in sources:
        source.open()
    clock: Any = edges.Clock()
    pusher: Any = Pusher()
    delivery = scenario.delivery(journal, pusher, clock, scenario.temporality)
    return Pipeline(sources, (), scenario.temporality, delivery, clock)


def _source(number: int) -> Source:
    attributes = (("network.interface.name", str(number)),)
    place: Any = edges.locate(number)
    schema = replace(ONE_SUM, attributes=attributes)
    return Source(f"interface:{number}", place, lambda *_: schema, edges.born)


def _saved(pipeline: Pipeline) -> Memory:
    delivery = pipeline._delivery
    sources = pipeline._sources
    objects = (
        pipeline,
        pipeline._report,
        pipeline._reported_maps,
        delivery,
        delivery._journal,
        *filter(None, [delivery._journal._file]),
        *sources,
        *(held for source in sources for held in source._maps),
    )
    attributes = tuple((obj, {name: _copy(value) for name, value in vars(obj).items()}) for obj in objects)
    return Memory(pipeline, attributes, _key(objects))


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set)) else value


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        # It never changes, and its functions cannot be pickled.
        return (str, (obj.name,)) if isinstance(obj, Schema) else NotImplemented


def _key(objects: tuple[object, ...]) -> bytes:
    """Return everything that a process's behaviour depends on, and nothing else, as bytes."""
    state = [{name: value for name, value in vars(obj).items() if name not in NO_STATE} for obj in objects]
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.fast = True  # by value: equal objects give equal bytes
    pickler.dump(state)
    return buffer.getvalue()
