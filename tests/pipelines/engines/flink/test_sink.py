"""What a hop's sinks deliver, and under which transactional ids."""

from dataclasses import replace
from pathlib import Path

from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.engines.flink.sink import delivery
from verdict.pipelines.topology import Hop, Job

HOP = Hop("card", True, lambda: None)  # type: ignore[arg-type, return-value]
JOB = Job("score", "p", ("events",), (HOP,), ("decisions", "dead-letters"))
SETTINGS = FlinkSettings("127.0.0.1:9092", Path("/f"), Path("/c"))


def sink(topic: str = "decided", **changes: object) -> dict[str, str]:
    return delivery(JOB, HOP, topic, replace(SETTINGS, **changes))  # type: ignore[arg-type]


def test_each_sink_has_a_transactional_id_of_its_own() -> None:
    """By job, hop and topic: what starts under one aborts what is open under it."""
    prefix = "sink.transactional-id-prefix"
    assert sink()[prefix] == "p/score/card/decided"
    assert sink("dead")[prefix] == "p/score/card/dead"
    assert sink(silent=True)[prefix] == "silent/p/score/card/decided"
    # Silent up to some offsets, it is the one that decides.
    assert sink(silent={"payments/0": 7})[prefix] == "p/score/card/decided"
    assert sink(transaction_timeout_ms=5)["properties.transaction.timeout.ms"] == "5"
    assert sink(delivery="at-least-once") == {"sink.delivery-guarantee": "at-least-once"}
