"""Who takes part, and how each is started: in fresh processes, with fresh state and topics."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import decisions
import yaml
from peer_java import java_jar, submit
from processes import Failed, Process, cpu_s, peak_mb

from verdict.pipelines.engines.flink.rest import Rest, cause_of
from verdict.pipelines.paths import cache_folder
from verdict.pipelines.spec.values import milliseconds
from verdict.state.errors import VerdictError

HERE = Path(__file__).parent
STARTING_S = 180.0
QUIX = HERE / "quix.txt"


@dataclass(frozen=True)
class Contestant:
    """One of those that do the work.

    Attributes
    ----------
    name
        As in the results.
    pipeline
        The work: name of a pipeline file.
    kind
        What runs it: ``embedded``, ``flink``, ``loop``, ``batched``, ``quix`` or ``java``.
    task_managers
        Of ``flink``: one a hop; of ``java``: one.
    asked
        Only takes part when it is asked for by name.
    """

    name: str
    pipeline: str
    kind: str
    task_managers: int = 0
    asked: bool = False

    @property
    def is_verdict(self) -> bool:
        """Whether it is verdict, and not a peer."""
        return self.kind in ("embedded", "flink")

    @property
    def subscribes(self) -> bool:
        """Whether it reads all partitions of its topic."""
        return self.kind not in ("loop", "batched")

    @property
    def last_bit(self) -> tuple[str, ...]:
        """Features that may differ from the others' in their last bit.

        Java's logarithm is not the C library's: of 400,000 amounts 24 have another last bit.
        """
        return ("log_amount",) if self.kind == "java" else ()

    @property
    def decoder(self) -> Callable[[bytes], dict[str, Any]]:
        """Decodes its decisions."""
        return decisions.verdict_decoder() if self.is_verdict else decisions.flat_decoder()


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("embedded", "one-entity", "embedded"),
        Contestant("flink", "one-entity", "flink", 1),
        Contestant("loop", "one-entity", "loop"),
        Contestant("quix", "one-entity", "quix"),
        Contestant("java", "one-entity", "java", 1),
        Contestant("embedded_two_hops", "two-entities", "embedded"),
        Contestant("flink_two_hops", "two-entities", "flink", 2),
        Contestant("loop_batched", "one-entity", "batched"),
        Contestant("embedded_four_hops", "four-entities", "embedded", asked=True),
        Contestant("flink_four_hops", "four-entities", "flink", 4, asked=True),
    )
}
"""Every contestant by its name, in the order of the first round."""


@dataclass(frozen=True)
class Place:
    """Where a contestant works.

    Attributes
    ----------
    folder
        For state, logs and settings; empty at the start.
    bootstrap
        ``host:port`` of the broker.
    events, decisions, dead_letters
        Topics.
    broker
        Id of the broker's process.
    changes
        Setting of the pipeline file, dotted -> value, that differs in this run.
    """

    folder: Path
    bootstrap: str
    events: str
    decisions: str
    dead_letters: str
    broker: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def topics(self) -> list[str]:
        """The topics that it writes."""
        return [self.decisions, self.dead_letters]


class Running:
    """A contestant at work.

    Attributes
    ----------
    processes
        That it consists of.
    cluster
        ``host:port`` of its Flink cluster; empty where it has none.
    started
        When, by the monotonic clock.
    """

    def __init__(self, contestant: Contestant, place: Place) -> None:
        self.contestant = contestant
        self.processes: list[Process] = []
        self.cluster = ""
        self.started = time.monotonic()
        try:
            if contestant.is_verdict:
                self._start_verdict(place)
            elif contestant.kind == "java":
                self._start_java(place)
            else:
                self._start_peer(place)
        except BaseException:
            self.stop()
            raise

    def _start_verdict(self, place: Place) -> None:
        contestant = self.contestant
        file = write_pipeline(contestant, place)
        command = [str(Path(sys.executable).with_name("verdict")), "run", str(file)]
        command += ["--job", "score", "--engine", contestant.kind]
        command += ["--state", str(place.folder / "state")]
        log = place.folder / f"{contestant.name}.log"
        environment = {"VERDICT_BOOTSTRAP": place.bootstrap}
        if contestant.kind == "embedded":
            self.processes.append(Process(command, log, environment=environment))
            return
        self._start_cluster(place)
        submission = Process([*command, "--cluster", self.cluster], log, environment=environment)
        try:
            submission.wait(STARTING_S)
        finally:
            submission.stop()

    def _start_java(self, place: Place) -> None:
        jar = java_jar()
        self._start_cluster(place)
        interval = milliseconds(str(place.changes.get("settings.checkpoint_interval", "10s")))
        arguments = ["--bootstrap", place.bootstrap]
        arguments += ["--events", place.events, "--decisions", place.decisions]
        arguments += ["--checkpoints", (place.folder / "checkpoints").absolute().as_uri()]
        arguments += ["--interval-ms", str(interval)]
        arguments += ["--delivery", str(place.changes.get("settings.delivery", "exactly-once"))]
        submit(self.cluster, jar, arguments)

    def _start_cluster(self, place: Place) -> None:
        script = [sys.executable, str(HERE / "cluster.py")]
        cluster = Process(
            [*script, str(place.folder), str(self.contestant.task_managers)],
            place.folder / "cluster.log",
            talks=True,
        )
        self.processes.append(cluster)
        self.cluster = cluster.line()

    def _start_peer(self, place: Place) -> None:
        kind = self.contestant.kind
        python = quix_python() if kind == "quix" else Path(sys.executable)
        script = HERE / ("quix.py" if kind == "quix" else "loop.py")
        command = [str(python), str(script), "--bootstrap", place.bootstrap]
        command += ["--events", place.events, "--decisions", place.decisions]
        command += ["--state", str(place.folder / "state")]
        if kind == "batched":
            command.append("--batched")
        # Packages of this environment are not for the other one.
        environment = {"PYTHONPATH": ""} if kind == "quix" else None
        log = place.folder / f"{self.contestant.name}.log"
        self.processes.append(Process(command, log, environment=environment))

    def check(self) -> None:
        """Raise `Failed` if it has ended."""
        for process in self.processes:
            process.check()

    def failure(self, what: str) -> Failed:
        """Make an error of it; of Flink with the cause that it knows."""
        error = self.processes[0].failure(what)
        if not self.cluster:
            return error
        rest = Rest(self.cluster)
        with contextlib.suppress(VerdictError):
            for job in rest.get("/jobs/overview")["jobs"]:
                cause = cause_of(rest.failure(job["jid"]))
                error = Failed(f"{error}\nFlink says {job['state']}: {cause}")
        return error

    def cpu_s(self) -> float:
        """Return the CPU time that its processes have used, in seconds."""
        return sum(cpu_s(process.pid) for process in self.processes)

    def peak_mb(self) -> dict[str, float]:
        """Return the peak resident memory of its processes, in MB.

        Of Flink without the Python process that starts the JVMs and waits: it has no part in the
        work.
        """
        found: dict[str, float] = {}
        for process in self.processes:
            found |= peak_mb(process.pid)
        if self.cluster:
            found.pop("python", None)
        return found

    def stop(self) -> None:
        """End all its processes."""
        for process in self.processes:
            process.stop()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def write_pipeline(contestant: Contestant, place: Place) -> Path:
    """Write the pipeline file with the topics of a place."""
    spec = yaml.safe_load((HERE / f"{contestant.pipeline}.yaml").read_text("utf-8"))
    spec["events"]["topic"] = place.events
    spec["events"]["schema"] = str(HERE / spec["events"]["schema"])
    spec["model"] = str(HERE / spec["model"])
    spec["topics"] = {"decisions": place.decisions, "dead-letters": place.dead_letters}
    for name, value in place.changes.items():
        *parents, last = name.split(".")
        part = spec
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    place.folder.mkdir(parents=True, exist_ok=True)
    file = place.folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")
    return file


def quix_python() -> Path:
    """Return the interpreter of Quix Streams' virtual environment in the cache folder; make it.

    Raises
    ------
    Failed
        Its packages cannot be installed.
    """
    folder = cache_folder() / "quix"
    python, stamp = folder / "bin" / "python", folder / "quix.txt"
    if not stamp.exists() or stamp.read_text() != QUIX.read_text():
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(QUIX)]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), *pip],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise Failed(f"Quix Streams cannot be installed into {folder}:\n{done.stderr}")
        stamp.write_text(QUIX.read_text())
    return python
