"""A topic's retention beside the longest window, on a real broker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from verdict.pipelines.kafka import admin as module
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.retention import retention_ms, warnings
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load

EXAMPLE = Path(__file__).parents[3] / "examples" / "card-fraud"
Verdict = Callable[..., Any]
DAY_MS = 86_400_000


def keep(kafka: LocalKafka, topic: str, **configs: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in configs.items()
        ],
    )
    admin.incremental_alter_configs([resource])[resource].result()


@pytest.fixture
def pipeline(kafka: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("VERDICT_BOOTSTRAP", kafka.bootstrap)
    for name in ("transaction.avsc", "models"):
        (tmp_path / name).symlink_to(EXAMPLE / name)
    text = (EXAMPLE / "pipeline.yaml").read_text().replace("topic: transactions", "topic: kept")
    (tmp_path / "pipeline.yaml").write_text(text)
    made = load(tmp_path / "pipeline.yaml")
    create_topics(clients(made.spec.settings), ["kept"])
    return made


def test_a_topic_that_keeps_less_than_the_longest_window(
    pipeline: Any, kafka: LocalKafka, verdict: Verdict
) -> None:
    keep(kafka, "kept", retention_ms=str(7 * DAY_MS))
    assert retention_ms(pipeline, "kept") == 7 * DAY_MS
    (said,) = warnings(pipeline)
    assert "keeps its records for 7 d, but feature 'customer_mean_30d' looks back 30 d" in said
    ran = verdict("check", pipeline.path)
    assert ran.code == 0
    assert "topic 'kept' keeps its records for 7 d" in ran.err.replace("\n", " ")

    keep(kafka, "kept", retention_ms=str(30 * DAY_MS))
    assert warnings(pipeline) == []
    keep(kafka, "kept", retention_ms="-1")
    assert retention_ms(pipeline, "kept") is None
    keep(kafka, "kept", retention_ms=str(DAY_MS), cleanup_policy="compact")
    assert warnings(pipeline) == []


def test_a_broker_that_does_not_answer_is_said(
    pipeline: Any, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    monkeypatch.setenv("VERDICT_BOOTSTRAP", "127.0.0.1:9")
    ran = verdict("check", pipeline.path)
    assert ran.code == 0
    assert "so nobody knows how long the topic keeps its records" in ran.err.replace("\n", " ")
