"""How a job runs on Flink, and where its state lies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from verdict.pipelines.engines.flink.silent import Silent
from verdict.pipelines.topology import Job

MAX_PARALLELISM = 128
"""Number of key groups: part of the state's layout, so it never changes for a job."""
EXACTLY_ONCE = "exactly-once"
BATCH = 64
"""More records than these at once save nothing, and other hops of a JVM wait meanwhile."""
TRANSACTION_TIMEOUT_MS = 900_000
"""Longest transaction: what a broker allows at most, unless it is told otherwise."""
SAVEPOINTS = "savepoints"
"""Of a job's checkpoint folder."""


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
        How often a failing job is started again before it is given up, with pauses from 0.2 s
        doubling to 5 s; the count is forgotten after 10 minutes without failure. 0 gives up at
        once, None never; then the pauses begin anew after a minute without failure.
    parallelism
        Subtasks of each operator.
    slot_groups
        A slot sharing group a hop, so that each has an interpreter, and a lock, of its own.
        For a standalone cluster with one slot a TaskManager; in a mini cluster all share a JVM.
    batch
        Most records that a hop calls Python for at once; it waits for none.
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
    batch: int = BATCH
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


def job_name(job: Job) -> str:
    """Return a job's name in Flink."""
    return f"{job.pipeline}/{job.name}"


def title(job: Job, settings: FlinkSettings) -> str:
    """Return what Flink calls a job.

    Examples
    --------
    >>> job = Job("score", "card-fraud", (), (), ())
    >>> title(job, FlinkSettings("localhost:9092", Path("/f"), Path("/c"), silent=True))
    'card-fraud/score, silent'
    """
    return f"{job_name(job)}, silent" if settings.silent is True else job_name(job)
