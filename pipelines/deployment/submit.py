"""Changes a job on a standalone cluster: savepoint, new job, and back if that does not come up."""

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.deployment.program import Program, Submitted, home_of, program, submitted
from verdict.pipelines.engines.flink.rest import ENDED, LOOK_S, Rest, cause_of
from verdict.pipelines.engines.flink.settings import MAX_PARALLELISM, SAVEPOINTS, latest_checkpoint
from verdict.pipelines.engines.flink.submit import Submitter, submitting
from verdict.pipelines.engines.flink.uids import stateful
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.jobs.compatibility import Effect, changes
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.package import Package, pack, unpack
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.errors import VerdictError

COME_UP_S = 120.0
"""How long a job may take to run and to complete a checkpoint, unless told otherwise."""
STOP_S = 600.0
"""How long a savepoint may take."""
FAILURES = 2
"""So many failures before the first checkpoint, and a job has not come up. The first may be a
TaskManager that still holds the former job."""
Say = Callable[[str], object]


class Standing(FlinkError):
    """Neither the new job came up nor the old one; the message says where to go on from."""


class RolledBack(FlinkError):
    """The new job did not come up; the old one runs again, from the savepoint.

    Attributes
    ----------
    job_id
        Of the old job now.
    """

    def __init__(self, message: str, job_id: str, details: str = "") -> None:
        super().__init__(message, details)
        self.job_id = job_id


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade did.

    Attributes
    ----------
    job_id
        Of the new job.
    savepoint
        Where it went on from.
    down_s
        Seconds from the old job's last record to the new one's first checkpoint.
    """

    job_id: str
    savepoint: Path
    down_s: float


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
    home = home_of(pipeline, name, state)
    before, old_package = Submitted.read(home)
    package = pack(pipeline)
    new = program(pipeline, name, state, package=package)
    former = load(unpack(old_package))
    file = Path(before.pipeline_file)
    old = program(former, name, state, package=old_package, folder=file.parent)
    rest = Rest(cluster)
    is_running(rest, new.name, before)
    faults = conflicts(before, former, new, pipeline, allow_non_restored)
    if faults:
        raise FlinkError(f"{new.name} goes on as it was:\n" + "\n".join(faults))
    _has_slots(rest, old, new)
    with submitting(cluster, new.settings) as client:
        try:
            done = exchange(
                client,
                rest,
                before.job_id,
                old,
                new,
                allow_non_restored=allow_non_restored,
                seconds=seconds,
                say=say,
            )
        except RolledBack as error:
            back = submitted(old, file, old_package, cluster, error.job_id)
            raise noted(error, back, home, old_package) from None
    submitted(new, pipeline.path, package, cluster, done.job_id).write(home, package)
    return done


def exchange(
    client: Submitter,
    rest: Rest,
    running: str,
    old: Program,
    new: Program,
    *,
    allow_non_restored: bool = False,
    seconds: float = COME_UP_S,
    say: Say = lambda _: None,
) -> Upgraded:
    """Stop a job with a savepoint and start another from it; `upgrade` says the rest.

    Parameters
    ----------
    running
        Id of the old job.
    """
    say("building the new job, and the old one to go back to")
    start = client.prepare(new.job, new.topics, new.settings)
    start_old = client.prepare(old.job, old.topics, old.settings)
    say(f"stopping {running} with a savepoint")
    savepoint = rest.stop(running, old.settings.checkpoint_folder / SAVEPOINTS, STOP_S)
    began = time.monotonic()

    def go_on() -> str:
        say(f"starting the new job from {savepoint}")
        return start(savepoint, allow_non_restored)

    job_id = start_or_go_back(rest, new.name, savepoint, go_on, start_old, seconds=seconds, say=say)
    return Upgraded(job_id, savepoint, time.monotonic() - began)


def noted(error: RolledBack, old: Submitted, home: Path, package: Package) -> RolledBack:
    """Keep the id under which the old job runs again; if it cannot be kept, the error says so."""
    try:
        old.write(home, package)
    except FlinkError as unwritten:
        return RolledBack(f"{error}\n{unwritten}", error.job_id, error.details)
    return error


def start_or_go_back(
    rest: Rest,
    name: str,
    savepoint: Path,
    start: Callable[[], str],
    start_old: Callable[[Path], str],
    *,
    seconds: float,
    say: Say,
    file: str = "either pipeline file",
) -> str:
    """Start a new job in place of one that was stopped, or that one again; return the new one's id.

    Parameters
    ----------
    name
        Of both.
    savepoint
        Of the old job.
    start, start_old
        Submit the new one, and the old one from its savepoint; they return the ids.
    file
        That can go on from the savepoint if neither comes up.

    Raises
    ------
    RolledBack
        The new job did not come up, the old one runs again.
    Standing
        Neither does.
    """
    started: list[str] = []
    try:
        started.append(start())
        come_up(rest, started[0], seconds)
    except Exception as error:  # whatever it is: nobody decides
        say(f"it does not come up; starting the old job from {savepoint}")
        try:
            for job_id in started:
                end(rest, job_id)
            again = start_old(savepoint)
            come_up(rest, again, seconds)
        except Exception as second:
            raise Standing(
                f"{name} does not run: neither the new job came up ({_said(error)}) nor the old "
                f"one ({_said(second)}); mend the cause, then 'verdict run --cluster' with {file}: "
                f"it goes on from {savepoint}",
                f"{_details(error)}\n{_details(second)}",
            ) from None
        raise RolledBack(
            f"{name} runs as it did before, as {again}: the new job did not come up: "
            f"{_said(error)}",
            again,
            _details(error),
        ) from None
    return started[0]


def _said(error: Exception) -> str:
    if isinstance(error, VerdictError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _details(error: Exception) -> str:
    if isinstance(error, FlinkError):
        return error.details
    return "".join(traceback.format_exception(error))


def come_up(rest: Rest, job_id: str, seconds: float = COME_UP_S) -> None:
    """Wait until a job runs with all its tasks, and has completed a checkpoint.

    Raises
    ------
    FlinkError
        It failed twice, ended, or the time is over.
    """
    deadline = time.monotonic() + seconds
    asked = False
    while True:
        state, failures, tasks = rest.state(job_id), rest.failures(job_id), rest.tasks(job_id)
        if state in ENDED or len(failures) >= FAILURES:
            text = failures[0] if failures else ""
            raise FlinkError(cause_of(text) if text else f"job {job_id} is {state}", text)
        if state == "RUNNING" and set(tasks) == {"RUNNING"}:
            if rest.checkpoints(job_id):
                return
            if not asked:
                asked = True
                with contextlib.suppress(FlinkError):  # another may be under way
                    rest.checkpoint(job_id)
        if time.monotonic() > deadline:
            told = ", ".join(f"{count} {name.lower()}" for name, count in sorted(tasks.items()))
            text = failures[0] if failures else ""
            why = f": {cause_of(text)}" if text else ""
            raise FlinkError(
                f"after {seconds:g} s job {job_id} is {state}, its tasks {told}, and no checkpoint "
                f"is complete{why}",
                text,
            )
        time.sleep(LOOK_S)


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


def is_running(rest: Rest, name: str, before: Submitted) -> None:
    """See that a job runs, and is the one that was submitted.

    Raises
    ------
    FlinkError
        It is not.
    """
    running = rest.jobs(name)
    if not running:
        raise FlinkError(
            f"{name} does not run on {rest.address}; 'verdict run --cluster' starts it from its "
            "last checkpoint"
        )
    if list(running) != [before.job_id]:
        raise FlinkError(
            f"{name} runs on {rest.address} as {', '.join(running)}, but this state knows it as "
            f"{before.job_id}: name by --state the folder that it was submitted with. If that is "
            "this one, an upgrade or bootstrap was killed when it had just started the new job: "
            "cancel it in Flink, and 'verdict run --cluster' with the pipeline file that it is of; "
            "it goes on from its last checkpoint, and is known again"
        )
    if running[before.job_id] != "RUNNING":
        text = rest.failure(before.job_id)
        why = f": {cause_of(text)}" if text else ""
        raise FlinkError(
            f"{name} is {running[before.job_id]}, and so makes no savepoint{why}. Cancel it and "
            "start the new one by 'verdict run --cluster': it goes on from the last checkpoint",
            text,
        )


def _has_slots(rest: Rest, old: Program, new: Program) -> None:
    slots = rest.slots()
    if new.slots > slots.free + old.slots:
        raise FlinkError(
            f"{new.name} would need {new.slots} slots, one a hop and subtask; {rest.address} has "
            f"{slots.free} free and {old.slots} of the job that runs: start "
            f"{new.slots - slots.free - old.slots} more TaskManagers first"
        )


def end(rest: Rest, job_id: str) -> None:
    """Cancel a job, and wait for its end."""
    if rest.state(job_id) not in ENDED:
        with contextlib.suppress(FlinkError):  # it may end by itself in this very moment
            rest.cancel(job_id)
    deadline = time.monotonic() + COME_UP_S
    while rest.state(job_id) not in ENDED:
        if time.monotonic() > deadline:
            raise FlinkError(f"job {job_id} on {rest.address} does not end; cancel it")
        time.sleep(LOOK_S)
