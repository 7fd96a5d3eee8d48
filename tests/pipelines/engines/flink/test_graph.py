"""A job as a Flink program, as far as it is made without a JVM: options, headers, refusals."""

from dataclasses import replace
from pathlib import Path

import pytest

from verdict.pipelines.engines.flink.graph import Graph, _options
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import Hop, Job

# PyFlink's own, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HOP = Hop("card", True, lambda: None)  # type: ignore[arg-type, return-value]
JOB = Job("score", "p", ("events",), (HOP,), ("decisions", "dead-letters"))
TOPICS = {"events": "payments", "decisions": "decided", "dead-letters": "dead"}
SETTINGS = FlinkSettings("127.0.0.1:9092", Path("/f"), Path("/c"))


def test_an_output_without_a_topic_is_refused() -> None:
    topics = {name: topic for name, topic in TOPICS.items() if name != "dead-letters"}
    with pytest.raises(FlinkError, match="p/score: no topic is named for 'dead-letters'"):
        Graph(JOB, topics, SETTINGS, None)


def test_transactions_without_checkpoints_are_refused() -> None:
    settings = replace(SETTINGS, checkpoint_interval_ms=0)
    with pytest.raises(FlinkError, match="a checkpoint commits the outputs, and checkpoint_inter"):
        Graph(JOB, TOPICS, settings, None)


def test_settings_of_kafka_stand_above_ours_but_for_the_brokers() -> None:
    graph = Graph.__new__(Graph)
    client = {"acks": "1", "bootstrap.servers": "elsewhere", "linger.ms": "7"}
    graph.settings = replace(SETTINGS, client=client)
    found = graph._client()
    assert found["properties.acks"] == "1"
    assert found["properties.linger.ms"] == "7"
    assert found["properties.bootstrap.servers"] == "127.0.0.1:9092"


def test_what_is_quoted_ends_no_literal() -> None:
    assert _options({"topic": "it's", "group": "a'; DROP"}) == (
        "'topic' = 'it''s', 'group' = 'a''; DROP'"
    )
