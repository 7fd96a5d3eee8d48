"""What was submitted last, and up to where a job before it decided."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from verdict.pipelines.engines.flink.settings import MAX_PARALLELISM
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.spec.package import Package, read, save

RECORD = "submitted.json"
DECIDED = "decided.json"
PACKAGES = "packages"


def decided_before(home: Path) -> dict[str, int]:
    """Return up to where the job before a `bootstrap` decided; empty if there was none.

    It stays true for ever: a job that starts from a checkpoint of before must not decide it again.

    Raises
    ------
    FlinkError
        The record cannot be read.
    """
    file = home / DECIDED
    try:
        return {str(place): int(offset) for place, offset in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FlinkError(f"{file}: cannot be read: {error}") from None


def write_decided(home: Path, ends: Mapping[str, int]) -> None:
    """Keep for `decided_before` up to where all is decided: ``topic/partition`` -> offset.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_decided(Path(folder), {"events/0": 7})
    ...     decided_before(Path(folder))
    {'events/0': 7}
    """
    _replace(home / DECIDED, json.dumps(dict(ends), indent=2) + "\n")


def try_writing(home: Path, package: Package) -> None:
    """See that a job's folder takes what is to be written to it once a job is stopped.

    Parameters
    ----------
    home
        The folder.
    package
        That is going to be submitted; it stays there.

    Raises
    ------
    FlinkError
        It does not; the message ends with why.
    """
    try:
        save(package, home / PACKAGES)
        write_decided(home, decided_before(home))
    except OSError as error:
        raise FlinkError(
            f"the job goes on as it was: {home} could not take what has to be kept there once it "
            f"is stopped; make room, or let it be written to, and say this again: {error}"
        ) from None


def _replace(file: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=file.parent, prefix=".partial-", delete=False
    ) as part:
        part.write(text)
    Path(part.name).replace(file)


@dataclass(frozen=True)
class Submitted:
    """What was submitted to a cluster, kept beside the job's checkpoints for the next upgrade.

    Attributes
    ----------
    job
        Its name in Flink.
    job_id, cluster
        Its id there, and the cluster's ``host:port``.
    pipeline_file
        Where the pipeline was packed from: secrets are read beside it.
    package
        The pipeline's sha256.
    inputs
        Stream -> topic.
    stateful
        Uids under which it keeps state.
    parallelism, max_parallelism
        Subtasks of each hop, and key groups.
    """

    job: str
    job_id: str
    cluster: str
    pipeline_file: str
    package: str
    inputs: dict[str, str]
    stateful: list[str]
    parallelism: int
    max_parallelism: int = MAX_PARALLELISM

    def write(self, home: Path, package: Package) -> None:
        """Keep this, and the package, in the job's folder, in place of what was there.

        Raises
        ------
        FlinkError
            It cannot be written.
        """
        try:
            save(package, home / PACKAGES)
            _replace(home / RECORD, json.dumps(asdict(self), indent=2) + "\n")
            for file in (home / PACKAGES).glob("*.package"):
                if file.stem != self.package:
                    file.unlink()
        except OSError as error:
            raise FlinkError(
                f"{self.job} runs as {self.job_id}, and {home} does not know of it: it cannot be "
                f"written ({error}). Mend that, cancel the job in Flink, and 'verdict run "
                f"--cluster' with {self.pipeline_file}: it goes on from its last checkpoint"
            ) from None

    @classmethod
    def read(cls, home: Path) -> tuple["Submitted", Package]:
        """Return what `write` kept.

        Raises
        ------
        FlinkError
            There is none, or it cannot be read.
        """
        file = home / RECORD
        try:
            found = cls(**json.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            raise FlinkError(
                f"there is no {file}: this state knows of no job that 'verdict run --cluster' "
                "submitted; name by --state the folder that it was submitted with"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise FlinkError(f"{file}: cannot be read: {error}") from None
        return found, read(home / PACKAGES / f"{found.package}.package")
