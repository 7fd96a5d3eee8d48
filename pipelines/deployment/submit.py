"""A job on a standalone cluster: submitted, and upgraded to what its pipeline is now."""

from pathlib import Path

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.deployment.exchange import COME_UP_S, RolledBack, Say, Upgraded, exchange
from verdict.pipelines.deployment.handover import Handover
from verdict.pipelines.deployment.program import Program, program, submitted
from verdict.pipelines.deployment.record import Submitted
from verdict.pipelines.engines.flink.rest import Rest
from verdict.pipelines.engines.flink.settings import MAX_PARALLELISM, latest_checkpoint
from verdict.pipelines.engines.flink.submit import submitting
from verdict.pipelines.engines.flink.uids import stateful
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.jobs.compatibility import Effect, changes
from verdict.pipelines.spec.package import pack
from verdict.pipelines.spec.pipeline import Pipeline


def submit(pipeline: Pipeline, name: str, state: Path, cluster: str, *, bounded: bool) -> str:
    """Submit a pipeline's job to a cluster, packed, from its last checkpoint; return its id.

    Raises
    ------
    FlinkError
        It runs there already, or the cluster does not answer or take it.
    """
    package = pack(pipeline)
    made = program(pipeline, name, state, package=package, bounded=bounded)
    running = Rest(cluster).jobs(made.name)
    if running:
        raise FlinkError(
            f"{made.name} runs on {cluster} already, as {', '.join(running)}; two would decide "
            "everything twice: 'verdict upgrade' changes it"
        )
    restore = None if bounded else latest_checkpoint(made.settings.checkpoint_folder)
    with submitting(cluster, made.settings) as client:
        job_id = client.prepare(made.job, made.topics, made.settings)(restore)
    if not bounded:
        submitted(made, pipeline.path, package, cluster, job_id).write(
            made.settings.folder, package
        )
    return job_id


def upgrade(
    pipeline: Pipeline,
    name: str,
    state: Path,
    cluster: str,
    *,
    allow_non_restored: bool = False,
    seconds: float = COME_UP_S,
    say: Say = lambda _: None,
) -> Upgraded:
    """Let a pipeline's job on a cluster go on as the pipeline is now.

    Nothing is stopped before all that can be checked is checked and the new program is built.

    Parameters
    ----------
    pipeline, name
        The pipeline as it shall be, and the job's name.
    state
        Folder of the state that the job was submitted with.
    cluster
        ``host:port`` of the JobManager's REST API.
    allow_non_restored
        Leave behind the state of hops and outputs that the new job does not have.
    seconds
        How long the new job may take to run and to complete a checkpoint.
    say
        Called with what is being done.

    Raises
    ------
    RolledBack
        The new job did not come up, the old one runs again.
    FlinkError
        The job does not run, the new one cannot take its state, or neither comes up again.
    """
    handover = Handover.read(pipeline, name, state, cluster)
    rest, old, new = Rest(cluster), handover.old, handover.new
    faults = conflicts(handover.before, handover.former, new, pipeline, allow_non_restored)
    if faults:
        raise FlinkError(f"{new.name} goes on as it was:\n" + "\n".join(faults))
    _has_slots(rest, old, new)
    with submitting(cluster, new.settings) as client:
        try:
            done = exchange(
                client,
                rest,
                handover.before.job_id,
                old,
                new,
                allow_non_restored=allow_non_restored,
                seconds=seconds,
                say=say,
            )
        except RolledBack as error:
            raise handover.undone(error) from None
    handover.keep(done.job_id)
    return done


def conflicts(
    before: Submitted,
    former: Pipeline,
    new: Program,
    pipeline: Pipeline,
    allow_non_restored: bool = False,
) -> list[str]:
    """List what keeps a program from going on from the state of what runs.

    Parameters
    ----------
    before, former
        What runs, and its pipeline.
    new, pipeline
        What shall run, and its pipeline.
    allow_non_restored
        Whether hops and outputs may go, and their state with them.
    """
    faults = []
    if before.max_parallelism != MAX_PARALLELISM:
        faults.append(
            f"its state is in {before.max_parallelism} key groups, this release makes "
            f"{MAX_PARALLELISM}: run the release that submitted it, or start anew"
        )
    gone = [uid for uid in before.stateful if uid not in stateful(new.job)]
    if gone and not allow_non_restored:
        faults.append(
            f"{', '.join(gone)} would be gone, and what it remembers: put it back, or say "
            "--allow-non-restored"
        )
    for stream, topic in before.inputs.items():
        if new.topics.get(stream, topic) != topic:
            faults.append(
                f"{stream} would be read from '{new.topics[stream]}' at the offsets of '{topic}': "
                "put the topic back, or start anew with an empty --state"
            )
    if new.job.name == SCORE_JOB:
        faults += [
            f"{change.what}: {change.says}"
            for change in changes(former, pipeline)
            if change.effect is Effect.REFUSED
        ]
    return faults


def _has_slots(rest: Rest, old: Program, new: Program) -> None:
    slots = rest.slots()
    if new.slots > slots.free + old.slots:
        raise FlinkError(
            f"{new.name} would need {new.slots} slots, one a hop and subtask; {rest.address} has "
            f"{slots.free} free and {old.slots} of the job that runs: start "
            f"{new.slots - slots.free - old.slots} more TaskManagers first"
        )
