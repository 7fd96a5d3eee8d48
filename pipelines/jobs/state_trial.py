"""An entity's windows, tried on events of nothing: how large their state is, who can read it."""

from collections import defaultdict
from typing import Any

from verdict.operators.events.event import Event
from verdict.pipelines.jobs.parts import make_features
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.keyed import MemoryState


def longest(pipeline: Pipeline, entity: str) -> int:
    """Return the longest window of an entity in milliseconds; 0 where it has none."""
    return max((feature.reach for feature in pipeline.windowed(entity)), default=0)


def retention(pipeline: Pipeline, entity: str) -> int:
    """Return for how many milliseconds an entity's log keeps an event behind its newest."""
    return longest(pipeline, entity) + pipeline.spec.events.allowed_lateness


def written(pipeline: Pipeline, entity: str, events: int) -> MemoryState:
    """Return the state of a key after some events, all in its longest window."""
    compute, state = make_features(pipeline, entity), MemoryState()
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
    old, state = make_features(former, entity), MemoryState()
    far = retention(former, entity) + 2
    for at in (0, far // 2, far):  # so that something has been forgotten
        old(_nothing(at), state)
    new = make_features(pipeline, entity)
    return [new.names[i] for i in new(_nothing(far), state).cold]


def _nothing(at: int) -> Event:
    fields: dict[str, Any] = defaultdict(lambda: None)
    return Event("", at, (), fields, defaultdict(lambda: 1))
