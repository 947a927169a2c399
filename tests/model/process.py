# SPDX-License-Identifier: Apache-2.0
"""
The sidecar's process: the real pipeline with all its real parts, put together, kept and brought back.

Between two steps a process is its objects and their attributes. It is restored from them, and told apart by
them, but for what only the log or the length of a pause depends on.
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
# Attributes that lead to another object, never change, or matter to nothing but the log and the pauses.
NO_STATE = {
    *("_sources", "_delivery", "_journal", "_pusher", "_clock", "_telemetry", "_after_delivery"),
    *("_resource", "_temporality", "_locate", "_resolve", "_counting_since_ns", "_follow"),
    *("_attempts", "_retry_at", "_most_bytes", "_summary", "_trouble"),
}


class Memory(NamedTuple):
    """A process between two steps: its pipeline, and the attributes of all its objects."""

    pipeline: Pipeline
    attributes: tuple[tuple[object, dict[str, Any]], ...]
    face: bytes


def held(memory: Memory) -> set[int]:
    """Return the maps that a process holds open."""
    return {one.info.id for _, attributes in memory.attributes for one in attributes.get("_maps", ())}


def cycle(found: Memory | Scenario) -> Memory | None:
    """Make one cycle; start the process before, if it does not run."""
    try:
        pipeline = _alive(found)
    except SidecarError as error:
        HERE.asked.note(f"not started: {error}")
        return None
    pipeline.cycle()
    return _remember(pipeline)


def farewell(found: Memory | Scenario) -> None:
    """Do what SIGTERM makes it do, and end."""
    _alive(found)._shutdown()


def once(found: Memory | Scenario) -> None:
    """Run with `--once`."""
    try:
        _alive(found).once()
    except SidecarError as error:
        HERE.asked.note(str(error))


def _alive(found: Memory | Scenario) -> Pipeline:
    if isinstance(found, Scenario):
        return _start(found)
    for obj, attributes in found.attributes:
        obj.__dict__.clear()
        obj.__dict__.update({name: _copy(value) for name, value in attributes.items()})
    return found.pipeline


def _start(scenario: Scenario) -> Pipeline:
    outside = HERE.outside
    if outside.ledger.wiped and not outside.disk.is_readable:
        HERE.outside = outside._replace(ledger=outside.ledger._replace(journal_lost=True))
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
    return Source(f"interface:{number}", place, lambda _: schema, edges.born)


def _remember(pipeline: Pipeline) -> Memory:
    delivery = pipeline._delivery
    sources = pipeline._sources
    objects = (
        pipeline,
        delivery,
        delivery._journal,
        *sources,
        *(held for one in sources for held in one._maps),
    )
    attributes = tuple((obj, {name: _copy(value) for name, value in vars(obj).items()}) for obj in objects)
    return Memory(pipeline, attributes, _face(objects))


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set)) else value


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        # It never changes, and has a function in it.
        return (str, (obj.name,)) if isinstance(obj, Schema) else NotImplemented


def _face(objects: tuple[object, ...]) -> bytes:
    """Return all that makes a process behave as it does, and nothing else, as bytes."""
    shown = [{name: one for name, one in vars(obj).items() if name not in NO_STATE} for obj in objects]
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.fast = True  # by value: what is equal looks equal
    pickler.dump(shown)
    return buffer.getvalue()
