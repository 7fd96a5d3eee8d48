"""A job that runs on a cluster, and the program that is to take its place."""

from dataclasses import dataclass
from pathlib import Path

from verdict.pipelines.deployment.exchange import RolledBack, noted
from verdict.pipelines.deployment.program import Program, home_of, program, submitted
from verdict.pipelines.deployment.record import Submitted
from verdict.pipelines.engines.flink.rest import Rest, cause_of
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.package import Package, pack, unpack
from verdict.pipelines.spec.pipeline import Pipeline


@dataclass(frozen=True)
class Handover:
    """What runs and what shall run, each with all that starts it; `read` makes one.

    Attributes
    ----------
    cluster
        ``host:port`` of the JobManager's REST API.
    home
        The job's folder.
    before
        The record of what runs.
    former, old_package, old
        Its pipeline, as it was packed, and the program that it is again if the new one fails.
    pipeline, package, new
        What shall run.
    """

    cluster: str
    home: Path
    before: Submitted
    former: Pipeline
    old_package: Package
    old: Program
    pipeline: Pipeline
    package: Package
    new: Program

    @classmethod
    def read(cls, pipeline: Pipeline, name: str, state: Path, cluster: str) -> "Handover":
        """Read what was submitted, and see that it runs.

        Parameters
        ----------
        pipeline, name
            The pipeline as it shall be, and the job's name.
        state
            Folder of the state that the job was submitted with.
        cluster
            ``host:port`` of the JobManager's REST API.

        Raises
        ------
        FlinkError
            There is no record of it, or it does not run.
        """
        home = home_of(pipeline, name, state)
        before, old_package = Submitted.read(home)
        package = pack(pipeline)
        new = program(pipeline, name, state, package=package)
        former = load(unpack(old_package))
        folder = Path(before.pipeline_file).parent
        old = program(former, name, state, package=old_package, folder=folder)
        is_running(Rest(cluster), new.name, before)
        return cls(cluster, home, before, former, old_package, old, pipeline, package, new)

    @property
    def file(self) -> Path:
        """The pipeline file of what runs."""
        return Path(self.before.pipeline_file)

    def keep(self, job_id: str) -> None:
        """Keep for the next change that the new program runs.

        Raises
        ------
        FlinkError
            It cannot be written.
        """
        done = submitted(self.new, self.pipeline.path, self.package, self.cluster, job_id)
        done.write(self.home, self.package)

    def undone(self, error: RolledBack) -> RolledBack:
        """Keep that the old program runs again; return the error to raise."""
        back = submitted(self.old, self.file, self.old_package, self.cluster, error.job_id)
        return noted(error, back, self.home, self.old_package)


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
