"""A feature that looks back 30 days is added to a running pipeline, and is right at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.integration.flink_topics import Reader
from verdict.operators.message import Message
from verdict.operators.names import EVENTS
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.errors import FileError, KafkaError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.history import bootstrap, bootstrap_files
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import topics_of
from verdict.state.errors import StateError
from verdict.state.store.rocks import RocksStore

INIT = Path(__file__).parents[2] / "pipelines" / "resources" / "init"
DAY_MS = 86_400_000
START = 1_700_000_000_000
PARTITIONS = 2
FEATURE = "  card_sum_30d: {sum: amount, over: 30d, by: card}\n"
RATE = "  card_fraud_30d: {rate: label, over: 30d, delay: 1d, by: card}\n"
LABEL = """{"type": "record", "name": "Label", "fields": [
  {"name": "id", "type": "string"}, {"name": "fraud", "type": "boolean"},
  {"name": "known", "type": "long"}, {"name": "time", "type": "long"},
  {"name": "card_id", "type": "string"}]}"""


class Never:
    """Goes on to the end."""

    def is_set(self) -> bool:
        return False


class Cards:
    """The pipeline of `verdict init` over a topic of two partitions, without and with a feature."""

    def __init__(self, kafka: LocalKafka, folder: Path, name: str) -> None:
        self.kafka, self.folder, self.sent = kafka, folder, 0
        text = (INIT / "pipeline.yaml").read_text()
        text = text.replace("files: [events.jsonl]", f"topic: {name}")
        text += f"topics: {{decisions: {name}-decisions, dead-letters: {name}-dead}}\n"
        # A topic's end is told by an answer without records, with which a broker takes its time.
        text += "settings: {kafka: {fetch.wait.max.ms: 50}}\n"
        for file in ("event.avsc", "model"):
            (folder / file).symlink_to(INIT / file)
        assert "features:\n" in text
        (folder / "old.yaml").write_text(text)
        (folder / "new.yaml").write_text(text.replace("features:\n", f"features:\n{FEATURE}"))
        self.old, self.new = load(folder / "old.yaml"), load(folder / "new.yaml")
        self.clients = clients(self.old.spec.settings)
        create_topics(self.clients, [name], partitions=PARTITIONS)
        create_topics(self.clients, [f"{name}-decisions", f"{name}-dead"])
        self.name = name
        self.log: list[Message] = []

    def send(self, count: int, forgotten: bool = False) -> None:
        """An event each tenth of a day, of five cards by turns; a partition for each card.

        What is forgotten, the topic has not kept.
        """
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for _ in range(count):
            number = self.sent
            event: dict[str, Any] = {
                "id": f"e{number}",
                "time": START + number * DAY_MS // 10,
                "card_id": f"c{number % 5}",
                "amount": number + 0.25,
            }
            value = json.dumps(event).encode()
            partition = number % 5 % PARTITIONS
            if not forgotten:
                producer.produce(self.name, value, partition=partition, timestamp=event["time"] + 1)
            self.log.append(Message(EVENTS, None, value, self.name, 0, number, -1))
            self.sent += 1
        assert producer.flush(10) == 0

    def run(self, pipeline: Pipeline, state: str) -> None:
        """Decide what there is, as `verdict run --bounded` does."""
        job = score.score(pipeline)
        inputs, outputs = (
            topics_of(job.inputs, pipeline.topics),
            topics_of(job.outputs, pipeline.topics),
        )
        run_kafka(
            job,
            lambda offsets: KafkaBroker(self.clients, inputs, outputs, offsets, first=job.first),
            bootstrap_files.home(pipeline, self.folder / state),
            stop=Never(),
            bounded=True,
        )

    def file(self, first: int, end: int) -> Path:
        """Write some of the events to a file."""
        path = self.folder / f"events-{first}.jsonl"
        path.write_bytes(b"".join((m.value or b"") + b"\n" for m in self.log[first:end]))
        return path

    def decisions(self) -> list[dict[str, Any]]:
        decode = stream_decoder("decisions", self.old.spec.settings)
        records = Reader(self.kafka.bootstrap, f"{self.name}-decisions").read()
        return [decode(record.value or b"") for record in records]

    def replayed(self) -> dict[str, float]:
        """What the feature is for each event over all of them."""
        store = RocksStore(self.folder / "replay")
        runner = Runner(score.score(self.new), store)
        decode = stream_decoder("decisions", self.new.spec.settings)
        found = {}
        for message in self.log:
            for output in runner(message):
                decision = decode(output.value)
                found[decision["event_id"]] = decision["features"]["card_sum_30d"]
        store.close()
        return found


@pytest.fixture
def cards(
    kafka: LocalKafka, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> Cards:
    monkeypatch.setenv("VERDICT_BOOTSTRAP", kafka.bootstrap)
    return Cards(kafka, tmp_path, request.node.name.replace("_", "-")[:60])


def test_the_first_live_decision_is_what_a_replay_gives(cards: Cards) -> None:
    cards.send(400)
    cards.run(cards.old, "old")
    assert bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never()) == 400
    cards.send(50)  # the old one goes on meanwhile
    cards.run(cards.old, "old")
    cards.send(30)  # what it has not seen when it is stopped
    ends = bootstrap.decided(cards.old, cards.folder / "old")
    assert sum(ends.values()) == 450
    count = bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never(), until=ends)
    assert count == 50
    assert bootstrap.decided(cards.new, cards.folder / "new") == ends
    assert len(cards.decisions()) == 450
    cards.run(cards.new, "new")
    cards.send(20)
    cards.run(cards.new, "new")

    decisions = cards.decisions()
    ids = [decision["event_id"] for decision in decisions]
    assert sorted(ids) == sorted(f"e{number}" for number in range(500))  # none lost, none twice
    first = decisions[450:]
    replayed = cards.replayed()
    assert [d["features"]["card_sum_30d"] for d in first] == [
        replayed[d["event_id"]] for d in first
    ]
    assert all(decision["hops"][0]["cold"] == [] for decision in first)


def test_without_it_the_feature_says_that_it_is_cold(cards: Cards) -> None:
    cards.send(400)
    cards.run(cards.old, "old")
    cards.send(5)
    cards.run(cards.new, "old")
    last = cards.decisions()[-5:]
    assert [decision["hops"][0]["cold"] for decision in last] == [["card_sum_30d"]] * 5
    replayed = cards.replayed()
    assert all(d["features"]["card_sum_30d"] < replayed[d["event_id"]] for d in last)


class After:
    """Stops when it is asked for the n-th time."""

    def __init__(self, asked: int) -> None:
        self.asked = asked

    def is_set(self) -> bool:
        self.asked -= 1
        return self.asked < 0


def test_history_from_files_and_the_topic_is_one(
    cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They overlap: each event counts once, by its time."""
    cards.send(200, forgotten=True)
    cards.send(200)
    cards.run(cards.old, "old")
    files = [cards.file(0, 120), cards.file(120, 250)]
    new, before = cards.folder / "new", START + 230 * DAY_MS // 10
    monkeypatch.setattr(bootstrap_files, "BATCH", 50)
    assert bootstrap_files.read_files(cards.new, new, files, before, stop=After(1)) == 100
    with pytest.raises(KafkaError, match="has not read its files to their end"):
        bootstrap.bootstrap(cards.new, new, stop=Never())
    with pytest.raises(FileError, match=r"was begun with .* up to another time"):
        bootstrap_files.read_files(cards.new, new, files, before + 1, stop=Never())
    of_files, of_topic = bootstrap_files.Skipped(), bootstrap_files.Skipped()
    assert (
        bootstrap_files.read_files(cards.new, new, files, before, stop=Never(), skipped=of_files)
        == 150
    )
    assert of_files.records == 20
    assert bootstrap.bootstrap(cards.new, new, stop=Never(), skipped=of_topic) == 200
    assert of_topic.records == 30
    ends = bootstrap.decided(cards.old, cards.folder / "old")
    bootstrap.bootstrap(cards.new, new, stop=Never(), until=ends)
    cards.send(50)
    cards.run(cards.new, "new")

    replayed = cards.replayed()
    first = cards.decisions()[200:]
    assert sorted(d["event_id"] for d in first) == sorted(f"e{n}" for n in range(400, 450))
    for decision in first:
        number = int(decision["event_id"][1:])
        assert decision["features"]["card_sum_30d"] == replayed[decision["event_id"]]
        assert decision["hops"][0]["cold"] == []
        assert decision["hops"][0]["hop_seq"] == number // 5 + 1


def test_files_that_come_after_the_topic_are_refused(cards: Cards) -> None:
    cards.send(20)
    bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never())
    with pytest.raises(FileError, match="has read the topic already"):
        bootstrap_files.read_files(
            cards.new, cards.folder / "new", [cards.file(0, 10)], START, stop=Never()
        )


def test_what_would_be_decided_by_nobody_is_refused(cards: Cards) -> None:
    cards.send(20)
    cards.run(cards.old, "old")
    ends = bootstrap.decided(cards.old, cards.folder / "old")
    cards.send(20)
    bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never())
    with pytest.raises(KafkaError, match="what lies between would be decided by nobody"):
        bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never(), until=ends)
    with pytest.raises(KafkaError, match="there is no state of my-pipeline's score in"):
        bootstrap.decided(cards.old, cards.folder / "other")
    store = RocksStore(bootstrap_files.home(cards.old, cards.folder / "old"))
    with pytest.raises(StateError, match="in use by another process"):
        bootstrap.decided(cards.old, cards.folder / "old")
    store.close()


def test_partition_that_the_old_job_has_not_read_is_not_left_to_nobody(cards: Cards) -> None:
    cards.send(1)
    cards.run(cards.old, "old")
    ends = bootstrap.decided(cards.old, cards.folder / "old")
    cards.send(1)  # to the other partition
    bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never())
    with pytest.raises(KafkaError, match="/1 up to 1, the job that decides only up to 0"):
        bootstrap.bootstrap(cards.new, cards.folder / "new", stop=Never(), until=ends)


def test_first_feature_over_labels_finds_the_labels_that_the_old_job_did_not_read(
    cards: Cards,
) -> None:
    topic = f"{cards.name[:50]}-labels"
    create_topics(cards.clients, [topic])
    (cards.folder / "label.avsc").write_text(LABEL)
    text = (cards.folder / "old.yaml").read_text().replace("features:\n", f"features:\n{RATE}")
    text += (
        f"labels: {{topic: {topic}, format: json, schema: label.avsc, event_id: id, value: fraud, "
        "known_at: known, event_time: time, keys: {card: card_id}}\n"
    )
    (cards.folder / "new.yaml").write_text(text)
    new = load(cards.folder / "new.yaml")
    cards.send(100)
    cards.run(cards.old, "old")
    producer = Producer({"bootstrap.servers": cards.kafka.bootstrap})
    for number in range(100):  # card c0 is a fraud's, the others are not
        time, card = START + number * DAY_MS // 10, number % 5
        label = {"id": f"e{number}", "fraud": card == 0, "known": time + 1, "time": time}
        producer.produce(topic, json.dumps({**label, "card_id": f"c{card}"}))
    assert producer.flush(10) == 0

    ends = bootstrap.decided(cards.old, cards.folder / "old")
    count = bootstrap.bootstrap(new, cards.folder / "new", stop=Never(), until=ends)
    assert count == 200
    cards.send(5)
    cards.run(new, "new")
    rates = {d["event_id"]: d["features"]["card_fraud_30d"] for d in cards.decisions()[100:]}
    assert rates == {f"e{number}": float(number == 100) for number in range(100, 105)}
