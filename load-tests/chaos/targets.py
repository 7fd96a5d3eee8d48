"""What is killed, and what starts it again: as an orchestrator would, at once."""

import contextlib
import os
import random
import sys
from pathlib import Path
from typing import Protocol

from processes import Process

from verdict.pipelines.engines.flink.cluster import JOB_MANAGER_NAME, FlinkCluster
from verdict.pipelines.engines.flink.rest import Rest
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars

BROKER = "broker"


class Target(Protocol):
    """A system that runs a pipeline's score job.

    Attributes
    ----------
    logs
        Folder of Flink's logs; None where there are none.
    """

    logs: Path | None

    def kinds(self) -> list[str]:
        """List what can be killed."""
        ...

    def kill(self, kind: str) -> str:
        """End a process by SIGKILL, start it again, and say which it was."""
        ...

    def check(self) -> None:
        """Raise if it cannot go on."""
        ...

    def stop(self) -> None:
        """End everything."""
        ...


class Embedded:
    """One process of the embedded engine."""

    def __init__(self, kafka: LocalKafka, pipeline: Path, folder: Path) -> None:
        self._kafka = kafka
        self.logs: Path | None = None
        self._command = [str(Path(sys.executable).with_name("verdict")), "run", str(pipeline)]
        self._command += ["--job", "score", "--state", str(folder / "state")]
        self._log = folder / "embedded.log"
        self._start()

    def _start(self) -> None:
        environment = {"VERDICT_BOOTSTRAP": self._kafka.bootstrap}
        self._process = Process(self._command, self._log, environment=environment)

    def kinds(self) -> list[str]:
        return ["embedded", BROKER]

    def kill(self, kind: str) -> str:
        if kind == BROKER:
            return _kill_broker(self._kafka)
        os.kill(self._process.pid, 9)
        self._process.stop()
        self._start()
        return kind

    def check(self) -> None:
        self._process.check()

    def stop(self) -> None:
        self._process.stop()


class Flink:
    """A standalone cluster in application mode: a TaskManager a hop, and spare ones."""

    def __init__(
        self, kafka: LocalKafka, pipeline: Path, folder: Path, task_managers: int, seed: int
    ) -> None:
        self._kafka = kafka
        self._random = random.Random(seed)
        self.logs: Path | None = folder / "cluster" / "log"
        self._logs = self.logs
        self._cluster = FlinkCluster(
            folder / "cluster",
            flink_jars(),
            task_managers,
            variables={"VERDICT_BOOTSTRAP": kafka.bootstrap},
            application=["score", "--pipeline", str(pipeline), "--state", str(folder / "state")],
        )
        self._cluster.start()

    def kinds(self) -> list[str]:
        # A TaskManager, of which there are several, as often as each of the others.
        return ["taskmanager", JOB_MANAGER_NAME, BROKER]

    def kill(self, kind: str) -> str:
        if kind == BROKER:
            return _kill_broker(self._kafka)
        name = JOB_MANAGER_NAME if kind == JOB_MANAGER_NAME else self._random.choice(self._busy())
        self._cluster.kill(name)
        if kind == JOB_MANAGER_NAME:
            self._cluster.restart_job_manager()
        else:
            self._cluster.add_task_manager()
        return kind

    def _busy(self) -> list[str]:
        """List the TaskManagers that run a hop: nobody would miss a spare one."""
        names = [name for name in self._cluster.pids if name != JOB_MANAGER_NAME]
        busy: list[str] = []
        with contextlib.suppress(FlinkError):  # no JobManager answers, for now
            found = Rest(self._cluster.address).get("/taskmanagers")["taskmanagers"]
            busy = [f'ResourceID: {each["id"]}"' for each in found if not each["freeSlots"]]
        return [name for name in names if any(id_ in self._log(name) for id_ in busy)] or names

    def _log(self, name: str) -> str:
        file = self._logs / f"{name}.log"
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def check(self) -> None:
        pass  # what dies is started again by `kill`; what does not decide is seen by the checker

    def stop(self) -> None:
        self._cluster.stop()


def _kill_broker(kafka: LocalKafka) -> str:
    kafka.kill()
    kafka.restart()
    return BROKER
