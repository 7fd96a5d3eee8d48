"""The job `labels`: labels joined to decisions by the event's id."""

from verdict.operators.labels.join import Join, Route
from verdict.operators.message import Operator
from verdict.operators.names import DEAD_LETTERS, DECISIONS, ENTITY_LABELS, LABELS, LABELS_JOB
from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs.parts import decoder, encoder, label_reader, state_ttl
from verdict.pipelines.jobs.plan import HopPlan
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Hop, Job

UNTIL_LABELLED = 30 * 86_400_000
"""Milliseconds for which the job ``labels`` remembers a decision after no label of its event can
count any more: those that come too late are counted by the job ``score``, not lost on the way."""


def labels(pipeline: Pipeline) -> Job:
    """Decisions and labels -> at the event's id -> labels with its time and keys.

    Raises
    ------
    SpecError
        The pipeline has no labels that need it.
    """
    if pipeline.labels_input != ENTITY_LABELS:
        raise SpecError(
            [
                f"{pipeline.path}: there is nothing to do for the job {LABELS_JOB}: it is for "
                "labels from a topic, without 'keys', that features go by"
            ]
        )
    for_hops, ttl = pipeline.for_hops, state_ttl(remembered(pipeline))
    hops = (
        Hop("label-route", False, HopPlan(_route_hop, for_hops)),
        Hop("label-join", True, HopPlan(_join_hop, for_hops), ttl),
    )
    outputs = (ENTITY_LABELS, DEAD_LETTERS)
    return Job(LABELS_JOB, pipeline.spec.pipeline, (DECISIONS, LABELS), hops, outputs)


def remembered(pipeline: Pipeline) -> int:
    """Return how long the job ``labels`` remembers a decision: milliseconds of event time."""
    delays = [
        feature.delay
        for entity in pipeline.labelled
        for feature in pipeline.windowed(entity)
        if feature.labelled
    ]
    maturity = pipeline.spec.labels.maturity if pipeline.spec.labels is not None else None
    return max(*delays, maturity or 0) + UNTIL_LABELLED


def _route_hop(pipeline: Pipeline) -> Operator:
    return Route(
        pipeline.spec.pipeline,
        decoder(pipeline, DECISIONS),
        label_reader(pipeline),
        encoder(pipeline, DEAD_LETTERS),
    )


def _join_hop(pipeline: Pipeline) -> Operator:
    encode, encode_dead = encoder(pipeline, ENTITY_LABELS), encoder(pipeline, DEAD_LETTERS)
    return Join(pipeline.spec.pipeline, remembered(pipeline), encode, encode_dead)
