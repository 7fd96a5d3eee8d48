"""Every job by its name."""

from collections.abc import Callable, Mapping

from verdict.operators.names import ENTITY_LABELS, LABELS_JOB, SCORE_JOB, SHADOW_JOB, WATCH_JOB
from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs.labels import labels
from verdict.pipelines.jobs.score import score
from verdict.pipelines.jobs.shadow import shadow
from verdict.pipelines.jobs.watch import watch
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job

JOBS: Mapping[str, Callable[[Pipeline], Job]] = {
    SCORE_JOB: score,
    SHADOW_JOB: shadow,
    WATCH_JOB: watch,
    LABELS_JOB: labels,
}
"""Every job by its name."""


def names(pipeline: Pipeline) -> list[str]:
    """List the jobs that a pipeline has: all but ``labels``, which not every one needs."""
    needed = pipeline.labels_input == ENTITY_LABELS
    return [name for name in JOBS if name != LABELS_JOB or needed]


def jobs(pipeline: Pipeline) -> list[Job]:
    """Make every job that a pipeline has, in the order in which they feed each other.

    >>> from verdict import load
    >>> from verdict.pipelines.paths import resource
    >>> [job.name for job in jobs(load(resource("init/pipeline.yaml")))]
    ['score', 'shadow', 'watch']
    """
    return [job(pipeline, name) for name in names(pipeline)]


def job(pipeline: Pipeline, name: str) -> Job:
    """Make one of a pipeline's jobs.

    Raises
    ------
    SpecError
        There is no such job.
    """
    if name not in JOBS:
        raise SpecError([f"there is no job '{name}'; there are {', '.join(JOBS)}"])
    return JOBS[name](pipeline)
