"""One job in the place of another, or back."""

import contextlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from verdict.pipelines.deployment.program import Program
from verdict.pipelines.deployment.record import Submitted
from verdict.pipelines.engines.flink.rest import ENDED, LOOK_S, Rest, cause_of
from verdict.pipelines.engines.flink.settings import SAVEPOINTS
from verdict.pipelines.engines.flink.submit import Submitter
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.spec.package import Package
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
    savepoint = stop_with_savepoint(rest, running, old, say)
    began = time.monotonic()

    def go_on() -> str:
        say(f"starting the new job from {savepoint}")
        return start(savepoint, allow_non_restored)

    job_id = start_or_go_back(rest, new.name, savepoint, go_on, start_old, seconds=seconds, say=say)
    return Upgraded(job_id, savepoint, time.monotonic() - began)


def stop_with_savepoint(rest: Rest, running: str, of: Program, say: Say) -> Path:
    """Stop a job, by its id, and return its savepoint."""
    say(f"stopping {running} with a savepoint")
    return rest.stop(running, of.settings.checkpoint_folder / SAVEPOINTS, STOP_S)


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
                f"{name} does not run: neither the new job came up ({_message(error)}) nor the old "
                f"one ({_message(second)}); mend the cause, then 'verdict run --cluster' with "
                f"{file}: it goes on from {savepoint}",
                f"{_details(error)}\n{_details(second)}",
            ) from None
        raise RolledBack(
            f"{name} runs as it did before, as {again}: the new job did not come up: "
            f"{_message(error)}",
            again,
            _details(error),
        ) from None
    return started[0]


def _message(error: Exception) -> str:
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
