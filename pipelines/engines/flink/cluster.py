"""A standalone Flink cluster on this machine: a JobManager, and TaskManagers of one slot each.

For tests, chaos and trying out what a larger cluster does. The processes are those that the wheel's
scripts ``jobmanager.sh`` and ``taskmanager.sh`` end up with; each is stopped by its id.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Self

import yaml

from verdict.pipelines.engines.flink.java import environment, flink_home, java
from verdict.pipelines.engines.flink.rest import Rest
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.paths import resource

JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
APPLICATION = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
PYTHON_DRIVER = "org.apache.flink.client.python.PythonDriver"
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_MANAGER_NAME = "jobmanager"
STEP_S = 0.1
STARTING_S = 120.0
"""How long the cluster may take to have all its slots; 4 s on two idle cores."""
STOPPING_S = 15.0
JOB_MANAGER_STOPPING_S = 1.0
"""With nothing to do it needs 0.4; once it has had a job it stands still, until Flink ends it after
5 s. It keeps nothing that outlives it."""


class FlinkCluster:
    """A standalone cluster of this process, on 127.0.0.1, at free ports.

    Parameters
    ----------
    folder
        For its settings, logs and temporary files.
    jars
        Connectors, beside Flink's own jars.
    task_managers
        How many; a job with slot sharing groups needs one a hop, times its parallelism.
    python_path
        Folders with modules of the jobs, beside those of this process.
    variables
        Of the processes' environment, beside those of this process.
    java_options
        Further options of Java, for all processes.
    metrics_ports
        Of Flink's own metrics, ``first-last``, at all addresses of the machine; none if empty.
    application
        Arguments of `pipelines.deployment.main`, for application mode: the JobManager runs that one
        job, and starts it again from its last checkpoint when it is itself started again.

    Examples
    --------
    >>> with FlinkCluster(Path("/tmp/f"), flink_jars(), 2) as cluster:  # doctest: +SKIP
    ...     with submitting(cluster.address, settings) as client:
    ...         client.prepare(job, topics, settings)()
    """

    def __init__(
        self,
        folder: Path,
        jars: Sequence[Path],
        task_managers: int = 1,
        *,
        python_path: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
        metrics_ports: str = "",
        application: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self._jars = jars
        self._count = task_managers
        self._python_path = python_path
        self._variables = dict(variables or {})
        self._java_options = java_options
        self._metrics_ports = metrics_ports
        self._application = application
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._settings: Any = None
        self._tmp = self.folder / "tmp"
        self._rest_port = 0
        self._started = 0

    @property
    def address(self) -> str:
        """``host:port`` of its REST API, for `pipelines.engines.flink.submit.submitting`."""
        return f"127.0.0.1:{self._rest_port}"

    @property
    def pids(self) -> dict[str, int]:
        """Ids of the processes that run: of ``jobmanager``, ``taskmanager-1`` and so on."""
        return {
            name: process.pid for name, process in self._processes.items() if process.poll() is None
        }

    def start(self) -> Self:
        """Start the cluster, and wait until all its slots are there.

        Raises
        ------
        FlinkError
            A process died, or the slots are not there in two minutes.
        """
        self._rest_port, rpc_port = free_port(), free_port()
        (self.folder / "conf").mkdir(parents=True, exist_ok=True)
        # Short: RocksDB names its log by its whole path, which has 255 characters at most.
        self._tmp = Path(tempfile.mkdtemp(prefix="flink-"))
        self._settings = configured(rpc_port, self._rest_port, self._tmp, self._metrics_ports)
        (self.folder / "conf" / "config.yaml").write_text(yaml.safe_dump(self._settings))
        try:
            self._spawn_job_manager()
            for _ in range(self._count):
                self.add_task_manager()
            self._await_slots()
        except BaseException:
            self.stop()
            raise
        return self

    def add_task_manager(self) -> str:
        """Start one more TaskManager, without waiting for it; return its name."""
        self._started += 1
        return self._spawn(
            f"taskmanager-{self._started}", TASK_MANAGER, self._task_manager_memory()
        )

    def kill(self, name: str) -> None:
        """End a process with SIGKILL, as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def restart_job_manager(self) -> None:
        """Start the JobManager again, at its ports, and wait until it has all slots."""
        self._spawn_job_manager()
        self._await_slots()

    def _task_manager_memory(self) -> list[str]:
        memory = self._settings["taskmanager"]["memory"]
        framework, task = memory["framework"], memory["task"]
        heap = _megabytes(framework["heap"]) + _megabytes(task["heap"])
        direct = _megabytes(framework["off-heap"]) + _megabytes(task["off-heap"])
        direct += int(memory["network"]["max"].removesuffix("m"))
        return [
            f"-Xmx{heap}m",
            f"-XX:MaxDirectMemorySize={direct}m",
            f"-XX:MaxMetaspaceSize={memory['jvm-metaspace']['size']}",
        ]

    def stop(self) -> None:
        """Stop every process and wait for their ends; SIGKILL after 15 s, of the JobManager 1 s."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        for name, process in self._processes.items():
            within = JOB_MANAGER_STOPPING_S if name == JOB_MANAGER_NAME else STOPPING_S
            try:
                process.wait(max(0.0, begun + within - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._tmp, ignore_errors=True)

    def _spawn_job_manager(self) -> None:
        if not self._application:
            self._spawn(JOB_MANAGER_NAME, JOB_MANAGER, job_manager_options(self._settings))
            return
        main = Path(__file__).parents[2] / "deployment" / "main.py"
        program = [str(main), *self._application]
        self._spawn(
            JOB_MANAGER_NAME,
            APPLICATION,
            job_manager_options(self._settings),
            ["--job-classname", PYTHON_DRIVER, "-pyclientexec", sys.executable, "-py", *program],
        )

    def _spawn(
        self, name: str, main: str, options: Sequence[str], arguments: Sequence[str] = ()
    ) -> str:
        conf, log = self.folder / "conf", self.folder / "log"
        log.mkdir(exist_ok=True)
        with (log / f"{name}.out").open("wb") as printed:
            self._processes[name] = subprocess.Popen(
                [
                    *java(
                        main,
                        self._jars,
                        log / f"{name}.log",
                        self._tmp,
                        [*options, *self._java_options],
                    ),
                    "--configDir",
                    str(conf),
                    *arguments,
                ],
                env={
                    **environment(conf, self._python_path),
                    # Else PyFlink's client starts Beam's worker pool.
                    "_python_worker_execution_mode": "process",
                    # Where the driver of a Python program looks for its own jar.
                    "FLINK_OPT_DIR": str(flink_home() / "opt"),
                    **self._variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return name

    def _await_slots(self) -> None:
        deadline = time.monotonic() + STARTING_S
        rest = Rest(self.address)
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise self._failure(f"{name} ended with exit code {process.returncode}")
            try:
                if rest.slots().total == len(self._processes) - 1:
                    return
            except FlinkError:
                pass  # the JobManager is still starting
            if time.monotonic() > deadline:
                raise self._failure(f"not all slots were there in {STARTING_S:g} s")
            time.sleep(STEP_S)

    def _failure(self, what: str) -> FlinkError:
        logs = self.folder / "log"
        details = "".join(
            f"== {file.name}{os.linesep}{file.read_text(errors='replace')}"
            for file in sorted(logs.iterdir())
        )
        return FlinkError(f"the Flink cluster did not start: {what}; look at {logs}", details)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def configured(rpc_port: int, rest_port: int, tmp: Path, metrics_ports: str = "") -> Any:
    """Return what ``deploy/flink/config.yaml`` says, with its ports and folders filled in."""
    template = Template(resource("deploy/flink/config.yaml").read_text())
    text = template.substitute(
        rpc_port=rpc_port, rest_port=rest_port, tmp=tmp, metrics_ports=metrics_ports
    )
    settings = yaml.safe_load(text)
    if not metrics_ports:
        del settings["metrics"]
    return settings


def job_manager_options(settings: Mapping[str, Any]) -> list[str]:
    """Return the options of a JobManager's Java, as Flink's scripts would make them.

    Examples
    --------
    >>> job_manager_options(configured(6123, 8081, Path("/tmp")))
    ['-Xmx448m', '-XX:MaxMetaspaceSize=256m', '-XX:TieredStopAtLevel=1']
    """
    memory = settings["jobmanager"]["memory"]
    return [
        f"-Xmx{memory['heap']['size']}",
        f"-XX:MaxMetaspaceSize={memory['jvm-metaspace']['size']}",
        *settings["env"]["java"]["opts"]["jobmanager"].split(),
    ]


def _megabytes(part: Mapping[str, str]) -> int:
    return int(part["size"].removesuffix("m"))
