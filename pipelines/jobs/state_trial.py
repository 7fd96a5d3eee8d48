"""An entity's windows, tried on events of nothing: how large is their state, who can read it?"""

from collections import defaultdict
from typing import Any

from verdict.operators.events.event import Event
from verdict.operators.features.windowed import EntityFeatures
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.keyed import MemoryState


def windows(pipeline: Pipeline, entity: str) -> EntityFeatures:
    """Make what the hop of an entity keeps its windows with."""
    lateness = pipeline.spec.events.allowed_lateness
    return EntityFeatures(pipeline.windowed(entity), pipeline.schema, lateness)


def longest(pipeline: Pipeline, entity: str) -> int:
    """Return the longest window of an entity in milliseconds; 0 where it has none."""
    return max((feature.reach for feature in pipeline.windowed(entity)), default=0)


def written(pipeline: Pipeline, entity: str, events: int) -> MemoryState:
    """Return the state of a key after some events, all in its longest window."""
    compute, state = windows(pipeline, entity), MemoryState()
    for number in range(events):
        compute(_nothing(number * longest(pipeline, entity) // events), state)
    return state


def cold(former: Pipeline, pipeline: Pipeline, entity: str) -> list[str]:
    """Return the features of an entity that are cold over the state that a former pipeline wrote.

    Raises
    ------
    StateError
        It cannot be read.
    """
    old, state = windows(former, entity), MemoryState()
    far = longest(former, entity) + former.spec.events.allowed_lateness + 2
    for at in (0, far // 2, far):  # so that something has been forgotten
        old(_nothing(at), state)
    new = windows(pipeline, entity)
    return [new.names[i] for i in new(_nothing(far), state).cold]


def _nothing(at: int) -> Event:
    fields: dict[str, Any] = defaultdict(lambda: None)
    return Event("", at, (), fields, defaultdict(lambda: 1))
