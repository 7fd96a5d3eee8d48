"""Flink's configuration of a job: checkpoints where they are needed, restarts as they are asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from verdict.pipelines.engines.flink.configure import configure
from verdict.pipelines.engines.flink.settings import FlinkSettings

SETTINGS = FlinkSettings("127.0.0.1:9092", Path("/f"), Path("/c"))
INTERVAL, FOLDER = "execution.checkpointing.interval", "execution.checkpointing.dir"
RETENTION = "execution.checkpointing.externalized-checkpoint-retention"
ATTEMPTS = "restart-strategy.exponential-delay.attempts-before-reset-backoff"


def test_what_keeps_state_and_records_is_fixed() -> None:
    found = configure(SETTINGS)
    assert found["pipeline.max-parallelism"] == "128"
    assert found["pipeline.auto-generate-uids"] == "false"
    assert found["state.backend.type"] == "rocksdb"
    assert found["python.execution-mode"] == "thread"
    assert found["rest.bind-address"] == "127.0.0.1"
    assert found[FOLDER] == "file:///c"
    assert found[RETENTION] == "RETAIN_ON_CANCELLATION"
    assert all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("bounded", "delivery", "interval", "wanted"),
    [
        (False, "exactly-once", 10_000, "10000 ms"),
        (False, "at-least-once", 10_000, "10000 ms"),
        (False, "at-least-once", 0, None),
        (True, "exactly-once", 10_000, "10000 ms"),  # they commit its outputs
        (True, "at-least-once", 10_000, None),
    ],
)
def test_checkpoints_are_taken_where_they_are_of_use(
    bounded: bool, delivery: str, interval: int, wanted: str | None
) -> None:
    settings = replace(
        SETTINGS, bounded=bounded, delivery=delivery, checkpoint_interval_ms=interval
    )
    assert configure(settings).get(INTERVAL) == wanted


def test_nothing_starts_from_a_bounded_run() -> None:
    found = configure(replace(SETTINGS, bounded=True))
    assert found[RETENTION] == "NO_EXTERNALIZED_CHECKPOINTS"
    assert found[FOLDER] != configure(SETTINGS)[FOLDER]


@pytest.mark.parametrize(
    ("bounded", "restarts", "strategy", "attempts"),
    [
        (False, None, "exponential-delay", None),
        (False, 3, "exponential-delay", "3"),
        (False, 0, "none", None),
        (True, None, "none", None),
        (True, 2, "exponential-delay", "2"),
    ],
)
def test_restarts(bounded: bool, restarts: int | None, strategy: str, attempts: str | None) -> None:
    found = configure(replace(SETTINGS, bounded=bounded, restarts=restarts))
    assert found["restart-strategy.type"] == strategy
    assert found.get(ATTEMPTS) == attempts


@pytest.mark.parametrize(("restarts", "forgotten"), [(None, "1 min"), (3, "10 min")])
def test_a_restart_waits_for_slots_rather_than_for_the_clock(
    restarts: int | None, forgotten: str
) -> None:
    found = configure(replace(SETTINGS, restarts=restarts))
    name = "restart-strategy.exponential-delay."
    assert found[f"{name}initial-backoff"] == "200 ms"
    assert found[f"{name}max-backoff"] == "5 s"
    assert found[f"{name}reset-backoff-threshold"] == forgotten


def test_what_is_not_asked_for_is_not_there() -> None:
    found = configure(SETTINGS)
    assert not any(name.startswith("metrics.") for name in found)
    assert "execution.state-recovery.path" not in found
    asked = configure(replace(SETTINGS, flink_metrics="9250-9260", restore=Path("/c/chk-7")))
    assert asked["metrics.reporter.prom.port"] == "9250-9260"
    assert asked["execution.state-recovery.path"] == "file:///c/chk-7"
