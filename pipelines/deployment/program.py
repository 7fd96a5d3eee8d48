"""What is handed to Flink, made from a pipeline: a job, its topics and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.deployment.carried import carried
from verdict.pipelines.deployment.record import Submitted, decided_before
from verdict.pipelines.engines.flink.settings import EXACTLY_ONCE, FlinkSettings, title
from verdict.pipelines.engines.flink.uids import stateful
from verdict.pipelines.jobs import catalog
from verdict.pipelines.kafka import transactions
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.spec.package import Package
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job, topics_of


@dataclass(frozen=True)
class Program:
    """A job, and how it runs on Flink."""

    job: Job
    topics: Mapping[str, str]
    settings: FlinkSettings

    @property
    def name(self) -> str:
        """What Flink calls the job."""
        return title(self.job, self.settings)

    @property
    def slots(self) -> int:
        """How many slots of a standalone cluster it takes: one a hop and subtask."""
        return len(self.job.hops) * self.settings.parallelism


def home_of(pipeline: Pipeline, job: str, state: Path) -> Path:
    """Return the folder of a job's checkpoints and logs.

    Parameters
    ----------
    pipeline, job
        The pipeline, and the job's name.
    state
        Folder of the state: ``settings.state``, or what ``--state`` says.
    """
    return state.absolute() / pipeline.spec.pipeline / f"{job}-flink"


def program(
    pipeline: Pipeline,
    name: str,
    state: Path,
    *,
    package: Package | None = None,
    bounded: bool = False,
    folder: Path | None = None,
) -> Program:
    """Make a pipeline's job ready for Flink, after a look at the broker.

    Parameters
    ----------
    pipeline
        The pipeline.
    name
        Of the job.
    state
        Folder of the state.
    package
        For a standalone cluster: the same pipeline, which the job is to carry.
    bounded
        Read to where the topics end now.
    folder
        That paths of ``settings.kafka`` are relative to; by default the pipeline file's.

    Raises
    ------
    VerdictError
        No broker answers, a topic is missing, or the broker allows no transactions as long as the
        pipeline wants them.
    """
    spec = pipeline.spec.settings
    job = catalog.job(pipeline.keeping(state), name)
    made = clients(spec, folder or pipeline.path.parent)
    topics = topics_of((*job.inputs, *job.outputs), pipeline.topics)
    followed = pipeline.lookup_topics if name == SCORE_JOB else []
    require(made, [*topics.values(), *followed])
    home = home_of(pipeline, name, state)
    settings = FlinkSettings(
        bootstrap=made.servers,
        folder=home,
        checkpoint_folder=home / "checkpoints",
        jars=flink_jars(),
        client=made.java,
        checkpoint_interval_ms=spec.checkpoint_interval,
        delivery=spec.delivery,
        bounded=bounded,
        parallelism=spec.parallelism,
        silent={} if bounded else decided_before(home),
    )
    if spec.metrics is not None:
        settings = replace(
            settings,
            metrics=f"{spec.metrics.host}:{spec.metrics.ports}",
            flink_metrics=spec.metrics.flink_ports or "",
        )
    if spec.delivery == EXACTLY_ONCE:
        timeout = transactions.check(made, spec.checkpoint_interval)
        settings = replace(settings, transaction_timeout_ms=timeout)
    if package is not None:
        job = carried(job, package)
        settings = replace(settings, slot_groups=True)
    return Program(job, topics, settings)


def submitted(
    program: Program, pipeline_file: Path, package: Package, cluster: str, job_id: str
) -> Submitted:
    """Describe a program that a cluster has taken."""
    return Submitted(
        job=program.name,
        job_id=job_id,
        cluster=cluster,
        pipeline_file=str(pipeline_file),
        package=package.sha256,
        inputs={stream: program.topics[stream] for stream in program.job.inputs},
        stateful=stateful(program.job),
        parallelism=program.settings.parallelism,
    )
