"""`verdict state get` and `forget`, asked of a job that runs on either engine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.integration.flink_topics import Reader, until
from verdict.pipelines.control.state_commands import ask
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

EXAMPLE = Path(__file__).parents[2] / "examples" / "card-fraud"
COUNT = 300
DAY = 86_400_000
LABELLED = """
labels:
  topic: PREFIX-labels
  format: json
  schema: label.avsc
  event_id: payment
  value: fraud
  known_at: known_at
  event_time: paid_at
  keys: {customer: customer, terminal: terminal}
features:
  terminal_risk: {rate: label, over: 3d, delay: 7d, by: terminal, default: 0}
"""
TIME = {"type": "long", "logicalType": "timestamp-millis"}
LABEL = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": TIME},
        {"name": "paid_at", "type": TIME},
        {"name": "customer", "type": "string"},
        {"name": "terminal", "type": ["null", "string"]},
    ],
}


class Job:
    """The example's score job, running, and what it was sent."""

    def __init__(
        self, pipeline: Pipeline, kafka: LocalKafka, events: list[Any], encode: Any
    ) -> None:
        self.pipeline, self.kafka, self.events, self.encode = pipeline, kafka, events, encode
        self._decisions = Reader(kafka.bootstrap, pipeline.topics["decisions"])

    def verdict(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "verdict", "state", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def decided(self) -> int:
        return len(self._decisions.read())


@pytest.fixture(scope="module", autouse=True)
def bootstrap(kafka: LocalKafka) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERDICT_BOOTSTRAP", kafka.bootstrap)
        yield


@pytest.fixture(scope="module", params=["embedded", "flink"])
def job(
    request: pytest.FixtureRequest,
    kafka: LocalKafka,
    generator: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Job]:
    tmp_path = tmp_path_factory.mktemp(request.param)
    for name in ("transaction.avsc", "models"):
        (tmp_path / name).symlink_to(EXAMPLE / name)
    prefix = f"commanded-{request.param}"
    text = (EXAMPLE / "pipeline.yaml").read_text()
    text = text.replace("topic: transactions", f"topic: {prefix}-events")
    (tmp_path / "label.avsc").write_text(json.dumps(LABEL))
    text = text.replace("features:\n", LABELLED.replace("PREFIX", prefix))
    names = ("decisions", "dead-letters", "state-commands", "state-answers")
    topics = ", ".join(f"{name}: {prefix}-{name}" for name in names)
    (tmp_path / "pipeline.yaml").write_text(f"{text}topics: {{{topics}}}\n")
    pipeline = load(tmp_path / "pipeline.yaml")
    create_topics(clients(pipeline.spec.settings), list(pipeline.topics.values()))
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    events = list(islice(generator.transactions(generator.World(days=None, seed=5)), COUNT))
    for event in events:
        producer.produce(f"{prefix}-events", generator.encode(event), event.key)
    assert producer.flush(10) == 0
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "verdict", "run", str(tmp_path)),
            *("--engine", request.param, "--state", str(tmp_path / "state")),
        ],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    running = Job(pipeline, kafka, events, generator.encode)
    try:
        until(lambda: process.poll() is not None or running.decided() == COUNT, 60)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_what_is_remembered_is_said_and_erased(job: Job) -> None:
    path = str(job.pipeline.path)
    key = max({event.key for event in job.events}, key=[e.key for e in job.events].count).decode()
    count = sum(event.key.decode() == key for event in job.events)
    done = job.verdict("get", path, "customer", key, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["remembered"]
    assert said["events"] == len(said["log"]) == count > 1
    assert said["features"]["customer_count_7d"] >= 1
    shown = job.verdict("get", path, "customer", key)
    assert f"customer {key}: {count} events, the newest" in shown.stdout
    terminals = ask(job.pipeline, "get", "terminal", "nobody")
    assert (terminals["found"], terminals["remembered"]) == (False, None)

    done = job.verdict("forget", path, "customer", key, "--why", "case 7", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"customer {key} is forgotten; its next event is its first" in done.stdout
    answer = ask(job.pipeline, "get", "customer", key)
    assert not answer["found"]
    # Every one of them is on record.
    answers = Reader(job.kafka.bootstrap, job.pipeline.topics["state-answers"]).read()
    assert len(answers) == 5
    assert sum(b"case 7" in (record.value or b"") for record in answers) == 1


def test_a_label_beside_the_events_counts_once_its_event_is_old_enough(job: Job) -> None:
    """It waits in its terminal's hop, which the one before it hands it to; then it counts."""
    terminals = [event.terminal.id for event in job.events if event.terminal is not None]
    terminal = max(set(terminals), key=terminals.count)
    paid = [e for e in job.events if e.terminal is not None and e.terminal.id == terminal]
    producer = Producer({"bootstrap.servers": job.kafka.bootstrap})
    topics, decode = job.pipeline.topics, stream_decoder("decisions", job.pipeline.spec.settings)
    for number, event in enumerate(paid):
        label = {
            "payment": event.transaction_id,
            "fraud": number == 0,
            "known_at": event.event_time + DAY,
            "paid_at": event.event_time,
            "customer": event.customer_id,
            "terminal": terminal,
        }
        key = event.key if number < 2 else b"another"
        producer.produce(topics["labels"], json.dumps(label).encode(), key)
    assert producer.flush(10) == 0

    def waiting() -> list[bool]:
        remembered = ask(job.pipeline, "get", "terminal", terminal)["remembered"]
        return [label["positive"] for label in remembered["labels"]]

    until(lambda: len(waiting()) == 2, 30)
    assert sorted(waiting()) == [False, True]
    letters = Reader(job.kafka.bootstrap, topics["dead-letters"]).read()
    assert len(letters) == len(paid) - 2

    later = paid[0]._replace(transaction_id="later", event_time=paid[-1].event_time + 7 * DAY)
    producer.produce(topics["events"], job.encode(later), later.key)
    assert producer.flush(10) == 0
    until(lambda: job.decided() == COUNT + 1, 30)
    records = Reader(job.kafka.bootstrap, topics["decisions"]).read()
    found = [decode(record.value or b"") for record in records]
    [last] = [each for each in found if each["event_id"] == "later"]
    assert last["features"]["terminal_risk"] == 1 / len(paid)


def test_nobody_answers(tmp_path: Path) -> None:
    for name in ("transaction.avsc", "models"):
        (tmp_path / name).symlink_to(EXAMPLE / name)
    text = (EXAMPLE / "pipeline.yaml").read_text()
    (tmp_path / "pipeline.yaml").write_text(f"{text}topics: {{state-commands: unheard}}\n")
    pipeline = load(tmp_path / "pipeline.yaml")
    create_topics(clients(pipeline.spec.settings), list(pipeline.topics.values()))
    with pytest.raises(KafkaError, match="nobody has answered within 1 s: does card-fraud's"):
        ask(pipeline, "get", "customer", "c1", seconds=1)
