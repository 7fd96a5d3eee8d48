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
from typing import NamedTuple

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.deployment.exchange import (
    COME_UP_S,
    FAILURES,
    STOP_S,
    RolledBack,
    Say,
    come_up,
    end,
    start_or_go_back,
    stop_with_savepoint,
)
from verdict.pipelines.deployment.handover import Handover
from verdict.pipelines.deployment.program import Program
from verdict.pipelines.deployment.record import (
    Submitted,
    decided_before,
    try_writing,
    write_decided,
)
from verdict.pipelines.engines.flink.offsets import Committed, behind, of_topics, read_up_to
from verdict.pipelines.engines.flink.rest import ENDED, LOOK_S, Rest, cause_of
from verdict.pipelines.engines.flink.settings import SAVEPOINTS
from verdict.pipelines.engines.flink.submit import Submitter, submitting
from verdict.pipelines.errors import FlinkError, Interrupted
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients, clients
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
    handover = Handover.read(pipeline, SCORE_JOB, state, cluster)
    rest, new = Rest(cluster), handover.new
    silent = silent_twin(new)
    _reads_the_same(handover.before, new)
    _runs_alone(rest, silent)
    _has_slots(rest, silent)
    try_writing(handover.home, handover.package)
    with submitting(cluster, new.settings) as client, _room(silent) as needed:
        say("building the jobs: the silent one, the new one, and the old one to go back to")
        steps = _Steps(client, rest, handover, silent, seconds, stop, say, tell)
        began = time.monotonic()
        made = steps.make_state()
        read_s = time.monotonic() - began
        ends = read_up_to(made.savepoint)
        steps.await_old(ends)

        _look_whether_to_stop(stop)
        try_writing(
            handover.home, handover.package
        )  # the state of history may have filled the disk
        old_savepoint = stop_with_savepoint(rest, handover.before.job_id, handover.old, say)
        began = time.monotonic()
        job_id, decided = steps.take_over(made.savepoint, ends, old_savepoint, needed)
        handover.keep(job_id)
    down_s = time.monotonic() - began
    again = sum(decided[place] - until for place, until in ends.items())
    return Bootstrapped(job_id, decided, made.read, again, read_s, down_s)


class _StateMade(NamedTuple):
    """State made from history: how many offsets were read for it, at least, and where it is."""

    read: int
    savepoint: Path


class _Steps:
    """What a bootstrap does one after the other, with all jobs built before the first.

    Parameters
    ----------
    client
        Builds them.
    rest
        The cluster.
    handover
        The job that decides meanwhile, and the one that will.
    silent
        The job that makes the state.
    seconds, stop, say, tell
        As of `bootstrap`.
    """

    def __init__(
        self,
        client: Submitter,
        rest: Rest,
        handover: Handover,
        silent: Program,
        seconds: float,
        stop: Stop | None,
        say: Say,
        tell: Tell,
    ) -> None:
        def prepare(part: Program) -> Callable[..., str]:
            return client.prepare(part.job, part.topics, part.settings)

        self._rest, self._handover, self._silent = rest, handover, silent
        self._seconds, self._stop, self._say, self._tell = seconds, stop, say, tell
        self._clients = clients(handover.pipeline.spec.settings, handover.pipeline.path.parent)
        parts = [part for part in (labels_of(silent), silent) if part is not None]
        self._silent_starts = [(part, prepare(part)) for part in parts]
        self._start, self._start_old = prepare(handover.new), prepare(handover.old)

    def make_state(self) -> _StateMade:
        """Read the topics from their start in silence, labels first; leave it as a savepoint."""
        _rewind(self._clients, self._silent)
        made: _StateMade | None = None
        for part, start in self._silent_starts:
            _look_whether_to_stop(self._stop)
            made = self._run(part, start(None if made is None else made.savepoint))
        assert made is not None
        return made

    def _run(self, part: Program, running: str) -> _StateMade:
        """Let a silent job that was started catch up, and stop it; cancel it if that fails."""
        rest, say = self._rest, self._say
        say(f"{self._silent.name} reads {', '.join(_read(part))} from the start, as {running}")
        try:
            read = _catch_up(
                rest, running, self._clients, part, self._seconds, self._stop, self._tell
            )
            decides = self._handover.before.job_id
            say(f"it has caught up; stopping it with a savepoint: {decides} goes on")
            folder = part.settings.checkpoint_folder / SAVEPOINTS
            return _StateMade(read, rest.stop(running, folder, STOP_S))
        except BaseException:
            with contextlib.suppress(FlinkError):  # what went wrong first is to be said
                end(rest, running)
            raise

    def await_old(self, ends: Mapping[str, int]) -> None:
        """Wait until the old job has decided all that the silent one has read."""
        old, seconds = self._handover.old, self._seconds
        partitions = require(self._clients, _read(old))
        ends = of_topics(ends, _read(old))
        group = Committed(
            self._clients, _group(old), {topic: partitions[topic] for topic in _read(old)}
        )
        deadline = time.monotonic() + seconds
        asked = False
        with contextlib.closing(group):
            while not group.is_past(ends):
                _look_whether_to_stop(self._stop)
                if not asked:
                    asked = True
                    with contextlib.suppress(FlinkError):  # another may be under way
                        self._rest.checkpoint(self._handover.before.job_id)
                if time.monotonic() > deadline:
                    raise FlinkError(
                        f"{old.name} goes on as it was: it is {group.lag(ends):,} records behind "
                        f"what the silent job had read {seconds:g} s ago. Say it again when it "
                        "keeps up, or give it longer: --timeout"
                    )
                time.sleep(LOOK_S)

    def take_over(
        self, kept: Path, ends: Mapping[str, int], old_savepoint: Path, needed: list[Path]
    ) -> tuple[str, dict[str, int]]:
        """Start the new job in place of the old one, which is stopped, or that one again.

        Parameters
        ----------
        kept, ends
            The savepoint of the silent job, and up to where it has read.
        old_savepoint
            Of the old job.
        needed
            Gets what has to be kept if neither comes up.

        Returns
        -------
        tuple[str, dict[str, int]]
            The new job's id, and as of `Bootstrapped.decided`.
        """
        handover, home = self._handover, self._handover.home
        decided: dict[str, int] = {}

        def go_on() -> str:
            decided.update({**ends, **_decided(self._rest, handover, old_savepoint, ends)})
            # Before it decides anything: whoever starts it from a checkpoint has to know.
            write_decided(home, {**decided_before(home), **decided})
            self._say(f"starting the new job from {kept}")
            return self._start(kept, silent=decided)

        needed.append(kept)
        try:
            job_id = start_or_go_back(
                self._rest,
                handover.new.name,
                old_savepoint,
                go_on,
                self._start_old,
                seconds=self._seconds,
                say=self._say,
                file=f"the pipeline file of before, {handover.file}",
            )
        except RolledBack as error:
            needed.clear()
            raise handover.undone(error) from None
        needed.clear()
        return job_id, decided


def silent_twin(new: Program) -> Program:
    """Make of a job the silent one, which takes nothing from the one that decides.

    Examples
    --------
    >>> from verdict.pipelines.engines.flink.settings import FlinkSettings
    >>> from verdict.pipelines.topology import Job
    >>> settings = FlinkSettings("localhost:9092", Path("/f"), Path("/f/checkpoints"))
    >>> made = silent_twin(Program(Job("score", "p", (), (), ()), {}, settings))
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


def _rewind(settings: Clients, silent: Program) -> None:
    """Forget how far the silent job of a former bootstrap was."""
    group = Committed(settings, str(silent.settings.group), require(settings, _read(silent)))
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


def _runs_alone(rest: Rest, silent: Program) -> None:
    """Refuse a second silent job: both would have one folder, and one group of consumers."""
    if left := rest.jobs(silent.name):
        raise FlinkError(
            f"{silent.name} runs on {rest.address}, as {', '.join(left)}: of a bootstrap that goes "
            "on, or that was killed; cancel it in Flink, and say this again"
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
    settings: Clients,
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
    partitions = require(settings, _read(silent))
    group = Committed(settings, str(silent.settings.group), partitions)
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


def _decided(
    rest: Rest, handover: Handover, savepoint: Path, ends: Mapping[str, int]
) -> dict[str, int]:
    """Return up to where the old job has decided, now that it is stopped."""
    topics = _read(handover.old)
    if (state := rest.state(handover.before.job_id)) != "FINISHED":
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
