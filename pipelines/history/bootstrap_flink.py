"""State made from history on a Flink cluster, while the job that decides goes on.

A second job with the new pipeline reads the topics from their start, and puts out nothing: labels
to their end before the first event, for one that an event overtakes is lost. When it has caught up,
both are stopped with a savepoint: it has read up to S, the job that decides up to E, which is not
before S. The new job goes on from S, silent up to E, and decides from there.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.deployment.exchange import (
    COME_UP_S,
    FAILURES,
    STOP_S,
    RolledBack,
    Say,
    come_up,
    end,
    noted,
    start_or_go_back,
)
from verdict.pipelines.deployment.program import Program, home_of, program, submitted
from verdict.pipelines.deployment.record import (
    Submitted,
    decided_before,
    try_writing,
    write_decided,
)
from verdict.pipelines.deployment.submit import is_running
from verdict.pipelines.engines.flink.offsets import Committed, behind, of_topics, read_up_to
from verdict.pipelines.engines.flink.rest import ENDED, LOOK_S, Rest, cause_of
from verdict.pipelines.engines.flink.settings import SAVEPOINTS
from verdict.pipelines.engines.flink.submit import submitting
from verdict.pipelines.errors import FlinkError, Interrupted
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.package import pack, unpack
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop

CAUGHT_UP_S = 10.0
"""It has caught up when it reads up to an end of the topics within so many seconds, and two
checkpoints, of their having ended there: the exchange reads again as much in silence."""
Tell = Callable[[int, int], object]


@dataclass(frozen=True)
class Bootstrapped:
    """What a bootstrap did.

    Attributes
    ----------
    job_id
        Of the new job.
    decided
        ``topic/partition`` -> the first offset that the new job decides.
    read
        Offsets that the silent job read, at least.
    again
        Offsets that the new job still reads in silence: what the old one decided after that.
    read_s, down_s
        Seconds of the silent job; and from the old job's last record to the new one's first
        checkpoint.
    """

    job_id: str
    decided: dict[str, int]
    read: int
    again: int
    read_s: float
    down_s: float


def bootstrap(
    pipeline: Pipeline,
    state: Path,
    cluster: str,
    *,
    seconds: float = COME_UP_S,
    stop: Stop | None = None,
    say: Say = lambda _: None,
    tell: Tell = lambda _read, _of: None,
) -> Bootstrapped:
    """Put a pipeline in place of the one that decides on a cluster, with state made from history.

    Nothing is kept of the old state, so all may change but the name and the topics that are read.

    Parameters
    ----------
    pipeline
        The pipeline as it shall be.
    state
        Folder of the state that the job was submitted with.
    cluster
        ``host:port`` of the JobManager's REST API.
    seconds
        How long a job may take to come up, and the old one to get as far as the silent one.
    stop
        Cancels the silent job, as long as the old one was not stopped.
    say
        Called with what is being done.
    tell
        Called with how many offsets are read, of how many, now and then.

    Raises
    ------
    Interrupted
        It was told to stop; the old job goes on.
    RolledBack
        The new job did not come up, the old one runs again.
    FlinkError
        Nothing was changed, unless the message says so.
    """
    home = home_of(pipeline, SCORE_JOB, state)
    before, old_package = Submitted.read(home)
    package = pack(pipeline)
    new = program(pipeline, SCORE_JOB, state, package=package)
    file = Path(before.pipeline_file)
    old = program(
        load(unpack(old_package)), SCORE_JOB, state, package=old_package, folder=file.parent
    )
    silent = beside(new)
    rest = Rest(cluster)
    is_running(rest, new.name, before)
    _reads_the_same(before, new)
    if left := rest.jobs(silent.name):
        raise FlinkError(
            f"{silent.name} runs on {cluster}, as {', '.join(left)}: of a bootstrap that goes on, "
            "or that was killed; cancel it in Flink, and say this again"
        )
    _has_slots(rest, silent)
    try_writing(home, package)
    made = clients(pipeline.spec.settings, pipeline.path.parent)
    with submitting(cluster, new.settings) as client, _room(silent) as needed:
        say("building the jobs: the silent one, the new one, and the old one to go back to")
        first = labels_of(silent)
        start_first = (
            None if first is None else client.prepare(first.job, first.topics, first.settings)
        )
        start_silent = client.prepare(silent.job, silent.topics, silent.settings)
        start = client.prepare(new.job, new.topics, new.settings)
        start_old = client.prepare(old.job, old.topics, old.settings)
        began = time.monotonic()

        def silently(part: Program, running: str) -> tuple[int, Path]:
            say(f"{silent.name} reads {', '.join(_read(part))} from the start, as {running}")
            try:
                read = _catch_up(rest, running, made, part, seconds, stop, tell)
                say(f"it has caught up; stopping it with a savepoint: {before.job_id} goes on")
                return read, rest.stop(
                    running, part.settings.checkpoint_folder / SAVEPOINTS, STOP_S
                )
            except BaseException:
                with contextlib.suppress(FlinkError):  # what went wrong first is to be said
                    end(rest, running)
                raise

        _rewind(made, silent)
        with_labels: Path | None = None
        if first is not None and start_first is not None:
            _, with_labels = silently(first, start_first())
            _look_whether_to_stop(stop)
        read, kept = silently(silent, start_silent(with_labels))
        read_s = time.monotonic() - began
        ends = read_up_to(kept)
        _await_old(rest, before, made, old, of_topics(ends, _read(old)), seconds, stop)

        _look_whether_to_stop(stop)
        try_writing(home, package)  # the state of history may have filled the disk
        say(f"stopping {before.job_id} with a savepoint")
        savepoint = rest.stop(before.job_id, old.settings.checkpoint_folder / SAVEPOINTS, STOP_S)
        began = time.monotonic()
        decided: dict[str, int] = {}

        def go_on() -> str:
            decided.update(ends | _decided(rest, before, savepoint, ends, _read(old)))
            # Before it decides anything: whoever starts it from a checkpoint has to know.
            write_decided(home, {**decided_before(home), **decided})
            say(f"starting the new job from {kept}")
            return start(kept, silent=decided)

        needed.append(kept)
        try:
            job_id = start_or_go_back(
                rest,
                new.name,
                savepoint,
                go_on,
                start_old,
                seconds=seconds,
                say=say,
                file=f"the pipeline file of before, {file}",
            )
        except RolledBack as error:
            needed.clear()
            back = submitted(old, file, old_package, cluster, error.job_id)
            raise noted(error, back, home, old_package) from None
        needed.clear()
        submitted(new, pipeline.path, package, cluster, job_id).write(home, package)
    down_s = time.monotonic() - began
    again = sum(decided[place] - until for place, until in ends.items())
    return Bootstrapped(job_id, decided, read, again, read_s, down_s)


def beside(new: Program) -> Program:
    """Make of a job the silent one, which takes nothing from the one that decides.

    Examples
    --------
    >>> from verdict.pipelines.engines.flink.settings import FlinkSettings
    >>> from verdict.pipelines.topology import Job
    >>> settings = FlinkSettings("localhost:9092", Path("/f"), Path("/f/checkpoints"))
    >>> made = beside(Program(Job("score", "p", (), (), ()), {}, settings))
    >>> made.name, made.settings.group, made.settings.checkpoint_folder.name
    ('p/score, silent', 'p.score.silent', 'checkpoints-silent')
    """
    settings = new.settings
    folder = settings.checkpoint_folder
    return replace(
        new,
        settings=replace(
            settings,
            silent=True,
            group=f"{_group(new)}.silent",
            checkpoint_folder=folder.with_name(f"{folder.name}-silent"),
            # It decides nothing that anyone should count.
            metrics=None,
        ),
    )


def labels_of(silent: Program) -> Program | None:
    """Make of a silent job the one that reads its labels alone; None if it has none.

    The silent job goes on from the state of its hops and from its offsets; the sources that it has
    besides begin at their start.
    """
    labels = silent.job.first
    return replace(silent, job=replace(silent.job, inputs=labels)) if labels else None


def _rewind(made: Clients, silent: Program) -> None:
    """Forget how far the silent job of a former bootstrap was."""
    group = Committed(made, str(silent.settings.group), require(made, _read(silent)))
    with contextlib.closing(group):
        group.rewind()


def _group(of: Program) -> str:
    return f"{of.job.pipeline}.{of.job.name}"


def _has_slots(rest: Rest, silent: Program) -> None:
    if silent.slots > rest.slots().free:
        raise FlinkError(
            f"{silent.name} would need {silent.slots} slots beside those of the job that decides, "
            f"one a hop and subtask; {rest.address} has {rest.slots().free} free: start "
            f"{silent.slots - rest.slots().free} more TaskManagers until it is done"
        )


def _read(of: Program) -> list[str]:
    """Return the topics that a program reads."""
    return [of.topics[stream] for stream in of.job.inputs]


def _reads_the_same(before: Submitted, new: Program) -> None:
    for stream, topic in before.inputs.items():
        if new.topics.get(stream, topic) != topic:
            raise FlinkError(
                f"{new.name} goes on as it was: {stream} would be read from "
                f"'{new.topics[stream]}', and what was decided of '{topic}' says nothing of it: "
                "put the topic back, or start anew with an empty --state"
            )


@contextlib.contextmanager
def _room(silent: Program) -> Iterator[list[Path]]:
    """Have an empty folder for the silent job's checkpoints, and leave none.

    Yields what a job may still start from: as long as there is something, the folder stays. Where
    neither job came up, the new one may yet run, or be started again by the cluster.
    """
    folder = silent.settings.checkpoint_folder
    shutil.rmtree(folder, ignore_errors=True)
    needed: list[Path] = []
    try:
        yield needed
    finally:
        if not needed:
            shutil.rmtree(folder, ignore_errors=True)


def _catch_up(
    rest: Rest,
    job_id: str,
    made: Clients,
    silent: Program,
    seconds: float,
    stop: Stop | None,
    tell: Tell,
) -> int:
    """Wait until the silent job reads about as fast as records come; return how many it has read.

    Each round takes the topics' ends, and waits until the job is past them.
    """
    come_up(rest, job_id, seconds)
    within = CAUGHT_UP_S + 2 * silent.settings.checkpoint_interval_ms / 1000
    partitions = require(made, _read(silent))
    group = Committed(made, str(silent.settings.group), partitions)
    failed, lowest = len(rest.failures(job_id)), None
    with contextlib.closing(group):
        while True:
            _look_whether_to_stop(stop)
            ends, began = group.ends(), time.monotonic()
            while not group.is_past(ends):
                _look_whether_to_stop(stop)
                lag = group.lag(ends)
                if lowest is None or lag < lowest:
                    lowest, failed = lag, len(rest.failures(job_id))
                tell(group.records - lag, group.records)
                _has_not_failed(rest, job_id, failed)
                time.sleep(LOOK_S)
            tell(group.records, group.records)
            if time.monotonic() - began <= within:
                return group.records
            lowest = None


def _look_whether_to_stop(stop: Stop | None) -> None:
    if stop is not None and stop.is_set():
        raise Interrupted("the silent job was cancelled; the one that decides goes on as it was")


def _has_not_failed(rest: Rest, job_id: str, known: int) -> None:
    """Refuse a job that has ended, or that fails again and again and comes no further."""
    state, failures = rest.state(job_id), rest.failures(job_id)
    if state in ENDED or len(failures) >= known + FAILURES:
        text = failures[0] if failures else ""
        why = cause_of(text) if text else f"job {job_id} is {state}"
        raise FlinkError(
            f"the silent job does not come to the end of its topics, and the one that decides goes "
            f"on as it was: {why}",
            text,
        )


def _await_old(
    rest: Rest,
    before: Submitted,
    made: Clients,
    old: Program,
    ends: Mapping[str, int],
    seconds: float,
    stop: Stop | None,
) -> None:
    """Wait until the old job has decided all that the silent one has read."""
    partitions = require(made, _read(old))
    group = Committed(made, _group(old), {topic: partitions[topic] for topic in _read(old)})
    deadline = time.monotonic() + seconds
    asked = False
    with contextlib.closing(group):
        while not group.is_past(ends):
            _look_whether_to_stop(stop)
            if not asked:
                asked = True
                with contextlib.suppress(FlinkError):  # another may be under way
                    rest.checkpoint(before.job_id)
            if time.monotonic() > deadline:
                raise FlinkError(
                    f"{old.name} goes on as it was: it is {group.lag(ends):,} records behind what "
                    f"the silent job had read {seconds:g} s ago. Say it again when it keeps up, or "
                    "give it longer: --timeout"
                )
            time.sleep(LOOK_S)


def _decided(
    rest: Rest, before: Submitted, savepoint: Path, ends: Mapping[str, int], topics: list[str]
) -> dict[str, int]:
    """Return up to where the old job has decided, now that it is stopped."""
    if (state := rest.state(before.job_id)) != "FINISHED":
        raise FlinkError(
            f"it ended as {state} after its savepoint {savepoint}, so what it put out last may not "
            "be committed"
        )
    found = of_topics(read_up_to(savepoint), topics)
    if late := behind(found, of_topics(ends, topics)):
        raise FlinkError(
            f"it had decided {late[0]} only up to {found.get(late[0], 0)}, and the silent job had "
            f"read up to {ends[late[0]]}: what lies between would be decided by nobody"
        )
    return found
