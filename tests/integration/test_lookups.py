"""A row that is produced is in the decisions within a second, on either engine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from tests.integration.flink_topics import Reader, until
from tests.integration.test_metrics import sums
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load

ROOT = Path(__file__).parents[2]

ROUNDS, BEFORE = 5, 2_000
STEP_S = 0.02
EFFECTIVE_S = 1.0
T0 = 1_700_000_000_000


class Running:
    """The tiny pipeline with a list of blocked cards, in a process of its own."""

    def __init__(self, kafka: LocalKafka, folder: Path, engine: str) -> None:
        self.port, self.name = free_port(), f"blocking-{engine}"
        shutil.copytree(resource("init"), folder / "p")
        self.file = folder / "p" / "pipeline.yaml"
        data = yaml.safe_load(self.file.read_text())
        del data["events"]["files"]
        data["pipeline"] = self.name
        data["events"] |= {"topic": f"{self.name}-events", "keyed_by": "card"}
        data["lookups"] = {"blocked": {"topic": f"{self.name}-blocked", "key": "card_id"}}
        data["features"]["blocked"] = {"listed_in": "blocked"}
        rule = {"name": "on_list", "when": "blocked == 1", "action": "stop"}
        data["decide"]["rules"] = [rule]
        streams = (DECISIONS.value, DEAD_LETTERS.value)
        data["topics"] = {stream: f"{self.name}-{stream}" for stream in streams}
        data["settings"] = {
            "kafka": {"bootstrap.servers": kafka.bootstrap},
            "checkpoint_interval": "200ms",
            "metrics": {"ports": self.port},
        }
        self.file.write_text(yaml.safe_dump(data))
        pipeline = load(self.file)
        made = clients(pipeline.spec.settings)
        create_topics(made, list(pipeline.topics.values()))
        create_topics(made, pipeline.lookup_topics, config={"cleanup.policy": "compact"})
        self.producer = Producer({**made.producer, "linger.ms": 0})
        self.decode = stream_decoder(DECISIONS, pipeline.spec.settings)
        self.topic = pipeline.topics[EVENTS]
        self.sent = 0
        for number in range(BEFORE):
            self.block(f"other-{number}")
        self.block("c-before")
        self.event("c-before")
        assert self.producer.flush(30) == 0
        self.reader = Reader(kafka.bootstrap, pipeline.topics[DECISIONS])
        self.err = folder / "stderr"
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "verdict",
                    "run",
                    str(self.file),
                    "--engine",
                    engine,
                ],
                stdout=subprocess.DEVNULL,
                stderr=err,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def block(self, card: str, row: bytes | None = b"{}") -> None:
        self.producer.produce(f"{self.name}-blocked", row, card)
        self.producer.poll(0)

    def event(self, card: str) -> None:
        self.sent += 1
        event = {"id": f"e{self.sent}", "time": T0 + self.sent, "card_id": card, "amount": "1.00"}
        self.producer.produce(self.topic, json.dumps(event), card)
        self.producer.poll(0)

    def decisions(self) -> list[tuple[int, dict[str, Any]]]:
        assert self.process.poll() is None, self.err.read_text()
        return [(record.timestamp, self.decode(record.value)) for record in self.reader.read()]

    def takes(self, card: str, row: bytes | None) -> float:
        """Change a card's row; return the seconds until a decision of it says so."""
        self.block(card, row)
        assert self.producer.flush(10) == 0
        began, first = time.time(), self.sent
        wanted = 0.0 if row is None else 1.0
        while True:
            self.event(card)
            assert self.producer.flush(10) == 0
            ids = {f"e{number}" for number in range(first + 1, self.sent + 1)}
            for at, decision in self.decisions():
                if decision["event_id"] in ids and decision["features"]["blocked"] == wanted:
                    assert (decision["action"] == "stop") == (wanted == 1.0)
                    return at / 1e3 - began
            assert time.time() < began + 30
            time.sleep(STEP_S)


@pytest.mark.parametrize("engine", ["embedded", "flink"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_row_is_effective_within_a_second(
    kafka: LocalKafka, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Running(kafka, tmp_path, engine)
    try:
        until(lambda: bool(running.decisions()))
        [(_, first)] = running.decisions()
        assert first["features"]["blocked"] == 1.0, "the table was full before the first event"
        took = []
        for number in range(ROUNDS):
            took.append(running.takes(f"c{number}", b"{}"))
            took.append(running.takes(f"c{number}", None))
        with capsys.disabled():
            shown = ", ".join(f"{1e3 * each:.0f}" for each in sorted(took))
            print(f"\n{engine}: effective after {shown} ms")
        assert sorted(took)[len(took) // 2] < EFFECTIVE_S
        assert max(took) < EFFECTIVE_S

        def shown_rows() -> bool:
            found = sums(running.port, "table")
            return found["verdict_lookup_rows", "blocked"] == BEFORE + 1

        until(shown_rows)
        found = sums(running.port, "table")
        assert found["verdict_lookup_lag_records", "blocked"] == 0
        assert found["verdict_lookup_bad_rows_total", "blocked"] == 0
    finally:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)
    text = running.err.read_text()
    assert "Traceback" not in text and "ERROR" not in text
