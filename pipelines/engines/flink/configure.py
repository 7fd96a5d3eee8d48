"""Flink's configuration of a job."""

import sys

from verdict.pipelines.engines.flink.settings import (
    EXACTLY_ONCE,
    MAX_PARALLELISM,
    FlinkSettings,
    bounded_folder,
)

PROMETHEUS = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory"


def configure(settings: FlinkSettings) -> dict[str, str]:
    """Return Flink's own settings for a job."""
    # A transaction is committed by a checkpoint, so a bounded run takes them too; but nothing is to
    # start from one: it has the offsets at which that run was to end.
    transactions = settings.delivery == EXACTLY_ONCE
    checkpoints = settings.checkpoint_interval_ms > 0 and (transactions or not settings.bounded)
    folder, retention = settings.checkpoint_folder.absolute(), "RETAIN_ON_CANCELLATION"
    if settings.bounded:
        folder, retention = bounded_folder(folder), "NO_EXTERNALIZED_CHECKPOINTS"
    found = {
        "python.execution-mode": "thread",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        # Thread mode has no Python worker to give a share of RocksDB's memory to.
        "python.fn-execution.memory.managed": "false",
        "parallelism.default": str(settings.parallelism),
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        # Proves that `name_all` has forgotten none: state of an operator without uid is lost.
        "pipeline.auto-generate-uids": "false",
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": f"{settings.buffer_timeout_ms} ms",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.dir": folder.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": retention,
        "taskmanager.memory.managed.size": f"{settings.managed_mb} mb",
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": str(settings.web_port),
        **_restarts(0 if settings.bounded and settings.restarts is None else settings.restarts),
    }
    if settings.flink_metrics:
        found["metrics.reporter.prom.factory.class"] = PROMETHEUS
        found["metrics.reporter.prom.port"] = settings.flink_metrics
    if checkpoints:
        found["execution.checkpointing.interval"] = f"{settings.checkpoint_interval_ms} ms"
    if settings.restore is not None:
        found["execution.state-recovery.path"] = settings.restore.absolute().as_uri()
    return found


def _restarts(attempts: int | None) -> dict[str, str]:
    if attempts == 0:
        return {"restart-strategy.type": "none"}
    found = {
        "restart-strategy.type": "exponential-delay",
        # A lost process is no reason to wait: the job's slots are what it waits for. Whoever fails
        # again at once, for want of a registry or a broker, soon waits for the longest.
        "restart-strategy.exponential-delay.initial-backoff": "200 ms",
        "restart-strategy.exponential-delay.max-backoff": "5 s",
        "restart-strategy.exponential-delay.backoff-multiplier": "2.0",
        # Else the second loss of an hour waits for twice as long as the first, and the fifth 5 s.
        "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
    }
    if attempts is not None:
        name = "restart-strategy.exponential-delay.attempts-before-reset-backoff"
        found[name] = str(attempts)
        # What forgets the pauses forgets the count.
        found["restart-strategy.exponential-delay.reset-backoff-threshold"] = "10 min"
    return found
