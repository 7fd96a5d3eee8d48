"""The job `shadow`: every challenger, on what was decided."""

from verdict.operators.message import Operator
from verdict.operators.models import bundle as bundles
from verdict.operators.names import DEAD_LETTERS, DECISIONS, SHADOW_JOB, SHADOW_SCORES
from verdict.operators.shadow import Shadow
from verdict.pipelines.jobs.parts import decoder, encoder, make_decide
from verdict.pipelines.jobs.plan import HopPlan
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Hop, Job

TRACE = ("traceparent", "tracestate")
"""Headers of W3C's Trace Context."""


def shadow(pipeline: Pipeline) -> Job:
    """Decisions -> every challenger -> shadow scores."""
    hop = Hop("challengers", False, HopPlan(_shadow_hop, pipeline.for_hops))
    # A shadow score is of the event's trace, but no answer to whoever asked for the decision.
    carry = tuple(name for name in pipeline.spec.events.carry if name in TRACE)
    outputs = (SHADOW_SCORES, DEAD_LETTERS)
    return Job(SHADOW_JOB, pipeline.spec.pipeline, (DECISIONS,), (hop,), outputs, carry)


def _shadow_hop(pipeline: Pipeline) -> Operator:
    return Shadow(
        pipeline.spec.pipeline,
        [bundles.load(folder) for folder in pipeline.models[1:]],
        make_decide(pipeline),
        decoder(pipeline, DECISIONS),
        encoder(pipeline, SHADOW_SCORES),
        encoder(pipeline, DEAD_LETTERS),
    )
