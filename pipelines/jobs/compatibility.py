"""What a changed pipeline file does to the state that another one wrote."""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from verdict.pipelines.jobs import state_trial
from verdict.pipelines.spec.features import AggregateFeature
from verdict.pipelines.spec.pipeline import Pipeline


class Effect(StrEnum):
    """What becomes of what is remembered."""

    KEPT = "kept"
    COLD = "cold"
    BEGINS = "begins"
    GONE = "gone"
    REFUSED = "refused"


class Change(NamedTuple):
    """What becomes of an entity, or of a feature.

    Attributes
    ----------
    what
        ``entity card``, ``feature spent_7d``.
    days
        For how long at most a feature is cold.
    """

    what: str
    effect: Effect
    says: str
    days: float = 0.0


def changes(former: Pipeline, pipeline: Pipeline) -> Iterator[Change]:
    """Say what a pipeline makes of the state of a former one, an entity after another.

    What is kept as it was is left out. Which features are cold is not worked out but tried: a
    state that the former one wrote is read by the new one.
    """
    for entity in former.entities:
        if entity not in pipeline.entities:
            yield Change(
                f"entity {entity}",
                Effect.GONE,
                "what it remembers is left behind; on Flink say --allow-non-restored",
            )
    for entity in pipeline.entities:
        if entity not in former.entities:
            yield Change(
                f"entity {entity}",
                Effect.BEGINS,
                "remembers nothing yet: its features begin at nothing for every key, and are not "
                "called cold; begin at the events' beginning to have them right at once",
                _days(pipeline, entity),
            )
        elif former.key(entity) != pipeline.key(entity):
            yield Change(
                f"entity {entity}",
                Effect.REFUSED,
                f"its key was {_key(former, entity)} and is {_key(pipeline, entity)}: what is "
                "remembered is another's; call the entity otherwise",
            )
        else:
            yield from _feature_changes(former, pipeline, entity)
    first, before = pipeline.entities[0], former.entities[0]
    if first != before and pipeline.spec.events.dedupe and former.spec.events.dedupe:
        yield Change(
            f"entity {first}",
            Effect.BEGINS,
            f"remembers the events' ids from now on, {before} has them: for dedupe's time a repeat "
            "is not known",
        )


def _feature_changes(former: Pipeline, pipeline: Pipeline, entity: str) -> Iterator[Change]:
    names = {feature.name for feature in pipeline.windowed(entity)}
    for feature in former.windowed(entity):
        if feature.name not in names:
            yield Change(f"feature {feature.name}", Effect.GONE, "what it alone kept goes with it")
    known = set(former.spec.features)
    cold = set(state_trial.cold(former, pipeline, entity))
    for feature in pipeline.windowed(entity):
        written = pipeline.spec.features[feature.name]
        assert isinstance(written, AggregateFeature)
        if feature.name in cold:
            days = (10 * feature.over if feature.decayed else feature.reach) / 86_400_000
            yield Change(
                f"feature {feature.name}",
                Effect.COLD,
                f"looks back to what was not kept: for each {entity} that was there before it is "
                f"over what there is, and called cold, for {days:g} d at most",
                days,
            )
        elif feature.name not in known:
            yield Change(
                f"feature {feature.name}", Effect.KEPT, "is new, and right at once: all is there"
            )


def _days(pipeline: Pipeline, entity: str) -> float:
    return state_trial.longest(pipeline, entity) / 86_400_000


def _key(pipeline: Pipeline, entity: str) -> str:
    return "|".join(pipeline.key(entity))
