"""The job `watch`: drift and comparison."""

from verdict.operators.message import Operator
from verdict.operators.models import card
from verdict.operators.names import (
    COMPARISON,
    DEAD_LETTERS,
    DECISIONS,
    DRIFT,
    SHADOW_SCORES,
    WATCH_JOB,
)
from verdict.operators.watch.bucket import Bucket, Watched
from verdict.operators.watch.compare import Comparisons
from verdict.operators.watch.drift import Drifts
from verdict.operators.watch.merge import Merge
from verdict.operators.watch.split import SCORE, Split
from verdict.pipelines.jobs.parts import decoder, encoder
from verdict.pipelines.jobs.plan import HopPlan
from verdict.pipelines.spec.features import AggregateFeature
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Hop, Job


def watch(pipeline: Pipeline) -> Job:
    """Decisions and shadow scores -> windows in buckets -> drift, comparison."""
    for_hops = pipeline.for_hops
    hops = (
        Hop("split", False, HopPlan(_split_hop, for_hops)),
        Hop("bucket", True, HopPlan(_bucket_hop, for_hops)),
        Hop("merge", True, HopPlan(_merge_hop, for_hops)),
    )
    return Job(
        WATCH_JOB,
        pipeline.spec.pipeline,
        (DECISIONS, SHADOW_SCORES),
        hops,
        (DRIFT, COMPARISON, DEAD_LETTERS),
    )


def _split_hop(pipeline: Pipeline) -> Operator:
    return Split(
        pipeline.spec.pipeline,
        [item.name for item in watched(pipeline)],
        decoder(pipeline, DECISIONS),
        decoder(pipeline, SHADOW_SCORES),
        encoder(pipeline, DEAD_LETTERS),
    )


def _bucket_hop(pipeline: Pipeline) -> Operator:
    return Bucket(watched(pipeline), pipeline.spec.watch.window)


def _merge_hop(pipeline: Pipeline) -> Operator:
    spec = pipeline.spec
    drifts = Drifts(
        spec.pipeline,
        watched(pipeline),
        spec.watch.window,
        spec.watch.psi_alarm,
        spec.watch.adwin_delta,
        spec.watch.min_events,
        encoder(pipeline, DRIFT),
    )
    encode = encoder(pipeline, COMPARISON)
    return Merge(drifts, Comparisons(spec.pipeline, spec.watch.window, encode))


def watched(pipeline: Pipeline) -> list[Watched]:
    """List what the watch job watches: every feature but the ignored, and the score last."""
    baseline = card.read_card(pipeline.models[0]).baseline
    features = {
        name: feature
        for name, feature in pipeline.spec.features.items()
        if name not in pipeline.spec.watch.ignore
    }
    warm_ups = {
        name: feature.reach if isinstance(feature, AggregateFeature) else 0
        for name, feature in features.items()
    }
    warm_ups[SCORE] = max(warm_ups.values(), default=0)
    found = []
    for name in (*features, SCORE):
        known = baseline.get(name)
        found.append(
            Watched(
                name,
                tuple(known.edges) if known else (),
                tuple(known.counts) if known else (),
                known.mean if known else 0.0,
                known.std if known else 0.0,
                warm_ups[name],
            )
        )
    return found
