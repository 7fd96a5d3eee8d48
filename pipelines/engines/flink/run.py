"""The Flink engine: a job's hops as Python operators in thread mode, Kafka on both sides.

`run` has a mini cluster in a JVM of its own; `submit` hands the same job to a cluster that runs.
The stream goes through SQL's Kafka tables and Java's key selector, so that no Python runs between
the source and the first hop, between hops, or between a hop and its sinks.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from verdict.pipelines.engines.flink.jvm import Jvm, beam_blocked, free_port
from verdict.pipelines.engines.flink.rest import ENDED, Rest, cause_of
from verdict.pipelines.engines.flink.silent import SILENT, Silent, written
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.java import java_home
from verdict.pipelines.topology import Job, Stop

os.environ.setdefault("JAVA_HOME", str(java_home()))

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())

MAX_PARALLELISM = 128
"""Number of key groups: part of the state's layout, so it never changes for a job."""
EXACTLY_ONCE = "exactly-once"
AT_LEAST_ONCE = "at-least-once"
TRANSACTION_TIMEOUT_MS = 900_000
"""Longest transaction: what a broker allows at most, unless it is told otherwise."""
SHORT_LIVED_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a JVM of seconds: neither the second compiler nor a parallel collector earns its keep."""
SAVEPOINTS = "savepoints"
"""Of a job's checkpoint folder."""
LOOK_S = 0.1
"""Seconds between two looks whether a job has ended, or shall."""
ASK_S = 2.0
"""Seconds between two questions to Flink whether a job failed and was started again."""


@dataclass(frozen=True)
class FlinkSettings:
    """How a job runs on Flink.

    Attributes
    ----------
    bootstrap
        ``host:port`` of Kafka's brokers.
    folder
        For logs and temporary files of this job alone.
    checkpoint_folder
        Where checkpoints go, and stay when the job is cancelled; each job needs its own.
    jars
        Connectors: `pipelines.local.java.flink_jars`. A standalone cluster has its own.
    client
        Settings of Kafka's Java clients, for sources and sinks alike.
    checkpoint_interval_ms
        Milliseconds between checkpoints; 0 for none.
    delivery
        ``exactly-once``: outputs in transactions, which a checkpoint commits; or
        ``at-least-once``.
    transaction_timeout_ms
        Milliseconds after which the broker aborts a transaction that nobody commits: it bounds how
        long a job may stand still after a crash and lose nothing.
    bounded
        Read to where the topics end now, then finish. No restarts, and no checkpoint is kept.
    start
        ``earliest``, or ``committed``: where the consumer group is, else the earliest record.
    restore
        A checkpoint's or savepoint's folder to start from; `latest_checkpoint` finds one.
    group
        Consumer group; ``<pipeline>.<job>`` if None.
    restarts
        How often a failing job is started again before it is given up, with pauses from 1 s
        doubling to 5 s; the count is forgotten after 10 minutes without failure. 0 gives up at
        once, None never.
    parallelism
        Subtasks of each operator.
    slot_groups
        A slot sharing group a hop, so that each has an interpreter, and a lock, of its own.
        For a standalone cluster with one slot a TaskManager; in a mini cluster all share a JVM.
    buffer_timeout_ms
        How long a record may wait for others on its way between hops; 0 sends each at once.
    heap_mb, managed_mb
        Megabytes of the mini cluster's Java heap, and of RocksDB's cache and write buffers.
    metrics
        ``host:first-last``: where each process shows what its hops count and time, at the first
        port that is free; None counts and times nothing.
    flink_metrics
        Ports, ``first-last``, of the mini cluster's own metrics, at all addresses of the machine;
        empty for none.
    web_port
        Of the mini cluster's REST API and web interface, on 127.0.0.1; 0 takes a free one.
    java_options
        Further options of the mini cluster's Java.
    python_path
        Folders with modules of the job, beside those of this process.
    silent
        Records that make state and are not put out. A job that is silent altogether may run beside
        the one that decides: its name and its transactions are others.
    """

    bootstrap: str
    folder: Path
    checkpoint_folder: Path
    jars: Sequence[Path] = ()
    client: Mapping[str, str] = field(default_factory=dict)
    checkpoint_interval_ms: int = 10_000
    delivery: str = EXACTLY_ONCE
    transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS
    bounded: bool = False
    start: str = "earliest"
    restore: Path | None = None
    group: str | None = None
    restarts: int | None = None
    parallelism: int = 1
    slot_groups: bool = False
    buffer_timeout_ms: int = 0
    heap_mb: int = 1024
    managed_mb: int = 256
    metrics: str | None = None
    flink_metrics: str = ""
    web_port: int = 0
    java_options: Sequence[str] = ()
    python_path: Sequence[Path] = ()
    silent: Silent = False

    def as_json(self) -> str:
        """Write the settings as JSON.

        Examples
        --------
        >>> a = FlinkSettings("localhost:9092", Path("/f"), Path("/c"), parallelism=2)
        >>> b = FlinkSettings.from_json(a.as_json())
        >>> b.parallelism, b.folder == a.folder
        (2, True)
        """
        return json.dumps({**asdict(self), "client": dict(self.client)}, default=str)

    @classmethod
    def from_json(cls, text: str) -> "FlinkSettings":
        """Read what `as_json` wrote."""
        values = json.loads(text)
        for name in ("folder", "checkpoint_folder", "restore"):
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("jars", "python_path"):
            values[name] = tuple(map(Path, values[name]))
        return cls(**values)


def latest_checkpoint(checkpoint_folder: Path) -> Path | None:
    """Return the newest complete checkpoint or savepoint in a job's folder, to restore it from.

    Examples
    --------
    >>> latest_checkpoint(Path("/nowhere")) is None
    True
    """
    found = [
        *checkpoint_folder.glob("*/chk-*/_metadata"),
        # Older ones would give out again what was committed with the savepoint.
        *checkpoint_folder.glob(f"{SAVEPOINTS}/*/_metadata"),
    ]
    newest = max(found, key=lambda file: file.stat().st_mtime_ns, default=None)
    return None if newest is None else newest.parent


def bounded_folder(checkpoint_folder: Path) -> Path:
    """Return where a bounded run has its checkpoints, which no other run may start from.

    Examples
    --------
    >>> bounded_folder(Path("/state/score-flink/checkpoints")).name
    'checkpoints-bounded'
    """
    return checkpoint_folder.with_name(f"{checkpoint_folder.name}-bounded")


def build(
    job: Job, topics: Mapping[str, str], settings: FlinkSettings, cluster: str | None = None
) -> Any:
    """Build a job, and return the ``StreamExecutionEnvironment`` to execute it with.

    Parameters
    ----------
    job
        The job.
    topics
        Stream -> topic.
    settings
        How it runs.
    cluster
        ``host:port`` of the REST API of the cluster it is for. If None, that is for Flink to know:
        what ``flink run`` was told, else a mini cluster.
    """
    with beam_blocked():
        from verdict.pipelines.engines.flink.graph import Graph

        return Graph(job, topics, settings, cluster).env


def run(
    job: Job,
    topics: Mapping[str, str],
    settings: FlinkSettings,
    *,
    ready: Callable[[], object] | None = None,
    stop: Stop | None = None,
) -> None:
    """Run a job on a mini cluster until it finishes or is told to stop.

    Parameters
    ----------
    job
        The job.
    topics
        Stream -> topic.
    settings
        How it runs.
    ready
        Called once the job is built, before it starts: the place to wait for a broker that is
        starting meanwhile, and to see that the topics exist. What it raises ends the run.
    stop
        Ends the run when it is set. If None, SIGINT and SIGTERM do.

    Raises
    ------
    FlinkError
        The job did not start, or failed; the message is the cause's, ``details`` all of it.
    """
    if not settings.web_port:
        settings = replace(settings, web_port=free_port())
    with _stop_on_signals(stop) as asked, _jvm(settings) as jvm, _explained(job, jvm):
        jvm.connect()
        env = build(job, topics, settings)
        if ready is not None:
            ready()
        try:
            if not asked.is_set():
                _follow(env.execute_async(_name(job)), _name(job), settings, asked)
        finally:
            if settings.bounded:
                shutil.rmtree(bounded_folder(settings.checkpoint_folder), ignore_errors=True)


@contextlib.contextmanager
def _explained(job: Job, jvm: Jvm) -> Iterator[None]:
    """Turn what PyFlink raises into an error that says the cause."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("py4j", "pyflink"):
            raise
        if not jvm.alive:
            raise jvm.death() from error
        text = str(error)
        cause = cause_of(text)
        # A hop names itself.
        where = "" if cause.startswith(f"{_name(job)}/") else f"{_name(job)}: "
        raise FlinkError(f"{where}{cause}; look at {jvm.log}", text) from None


def _jvm(settings: FlinkSettings) -> Jvm:
    return Jvm(
        settings.folder,
        settings.jars,
        heap_mb=settings.heap_mb,
        python_path=settings.python_path,
        options=settings.java_options,
    )


def _name(job: Job) -> str:
    return f"{job.pipeline}/{job.name}"


def _follow(client: Any, name: str, settings: FlinkSettings, asked: Stop) -> None:
    """Wait for a job's end, or end it when asked; say when Flink starts it again."""
    result = client.get_job_execution_result()
    rest = Rest(f"127.0.0.1:{settings.web_port}")
    job_id = str(client.get_job_id())
    told, asking = "", time.monotonic() + ASK_S
    while not result.done():
        if asked.is_set():
            # It may end by itself in this very moment.
            with contextlib.suppress(Exception):
                client.cancel().result()
            return
        time.sleep(LOOK_S)
        if time.monotonic() < asking:
            continue
        asking = time.monotonic() + ASK_S
        # The mini cluster, and its REST API, end with the job.
        with contextlib.suppress(FlinkError):
            failure = rest.failure(job_id)
            if failure not in ("", told):
                told = failure
                LOGGER.warning("%s failed; Flink starts it again: %s", name, cause_of(failure))
    result.result()


@contextlib.contextmanager
def _stop_on_signals(stop: Stop | None) -> Iterator[Stop]:
    if stop is not None or threading.current_thread() is not threading.main_thread():
        yield threading.Event() if stop is None else stop
        return
    asked = threading.Event()
    kept = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def submit(job: Job, cluster: str, topics: Mapping[str, str], settings: FlinkSettings) -> str:
    """Submit a job to a running cluster, and return its id; `wait` follows it.

    The script ``flink run`` would do the same, with `pipelines.flink_main`, but not under Java 25:
    there it fails without Hadoop's classes, and says nothing.

    Parameters
    ----------
    job
        The job; its modules must be found by the TaskManagers' Python.
    cluster
        ``host:port`` of the JobManager's REST API.
    topics
        Stream -> topic.
    settings
        How it runs.

    Raises
    ------
    FlinkError
        The cluster does not answer, or refuses the job.
    """
    with submitting(cluster, settings) as client:
        return client.prepare(job, topics, settings)()


class Submitter:
    """Hands jobs to a cluster; `submitting` makes one."""

    def __init__(self, cluster: str, jvm: Jvm) -> None:
        self._cluster = cluster
        self._jvm = jvm

    def prepare(
        self, job: Job, topics: Mapping[str, str], settings: FlinkSettings
    ) -> Callable[..., str]:
        """Build a job's program, which takes seconds, and return what submits it in no time.

        Returns
        -------
        Callable[..., str]
            ``submit(restore=None, allow_non_restored=False, silent=None)``: from a checkpoint or
            savepoint instead of ``settings.restore``; whether state that no operator of the job
            takes may be left behind; instead of ``settings.silent``. It returns the job's id.
        """
        with _explained(job, self._jvm):
            env = build(job, topics, settings, self._cluster)

        def submit(
            restore: Path | None = None,
            allow_non_restored: bool = False,
            silent: Silent | None = None,
        ) -> str:
            with _explained(job, self._jvm):
                if restore is not None:
                    _restore_from(env, restore, allow_non_restored)
                if silent is not None:
                    hush(env, silent)
                return str(env.execute_async(title(job, settings)).get_job_id())

        return submit


@contextlib.contextmanager
def submitting(cluster: str, settings: FlinkSettings) -> Iterator[Submitter]:
    """Have a JVM that can hand jobs to a cluster, as long as the context lasts.

    Raises
    ------
    FlinkError
        The cluster does not answer.
    """
    Rest(cluster).get("/overview")
    settings = replace(settings, java_options=(*SHORT_LIVED_JAVA, *settings.java_options))
    with _jvm(settings) as jvm:
        jvm.connect()
        yield Submitter(cluster, jvm)


def title(job: Job, settings: FlinkSettings) -> str:
    """Return what Flink calls a job.

    Examples
    --------
    >>> job = Job("score", "card-fraud", (), (), ())
    >>> title(job, FlinkSettings("localhost:9092", Path("/f"), Path("/c"), silent=True))
    'card-fraud/score, silent'
    """
    return f"{_name(job)}, silent" if settings.silent is True else _name(job)


def hush(env: Any, silent: Silent) -> None:
    """Tell the hops of a program, before it is executed, which records are silent."""
    from pyflink.java_gateway import get_gateway

    parameters = get_gateway().jvm.org.apache.flink.util.ParameterTool
    config = env._j_stream_execution_environment.getConfig()
    config.setGlobalJobParameters(parameters.fromMap({SILENT: written(silent)}))


def _restore_from(env: Any, folder: Path, allow_non_restored: bool) -> None:
    from pyflink.common import Configuration

    found = Configuration()
    found.set_string("execution.state-recovery.path", folder.absolute().as_uri())
    found.set_string(
        "execution.state-recovery.ignore-unclaimed-state", str(allow_non_restored).lower()
    )
    env.configure(found)


def wait(cluster: str, job_id: str, *, stop: Stop | None = None) -> None:
    """Wait for the end of a job on a cluster; cancel it when told to stop.

    Raises
    ------
    FlinkError
        The job failed, or the cluster does not answer.
    """
    rest = Rest(cluster)
    while (state := rest.state(job_id)) not in ENDED:
        if stop is not None and stop.is_set():
            rest.cancel(job_id)
            stop = None
        time.sleep(LOOK_S)
    if state == "FAILED":
        text = rest.failure(job_id)
        raise FlinkError(f"job {job_id} on {cluster}: {cause_of(text)}", text)
