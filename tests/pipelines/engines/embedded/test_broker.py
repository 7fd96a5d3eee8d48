"""The embedded engine on a real broker: every event decided, in whatever way the process ends."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS, LABELS
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.jobs import catalog
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.topology import topics_of

DEADLINE_S = 60


@dataclass(frozen=True)
class Record:
    """What is read back of an output."""

    key: bytes | None
    value: bytes | None
    source: str | None


def produce(clients: Clients, topic: str, messages: Any) -> None:
    producer = Producer(clients.producer)
    for key, value in messages:
        producer.produce(topic, value, key)
        producer.poll(0)
    assert producer.flush(20) == 0


def read(clients: Clients, topic: str) -> list[Record]:
    """Read a topic's one partition to its end."""
    consumer = Consumer({**clients.consumer, "group.id": "test"})
    end = high(consumer, topic)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Any] = []
    while len(found) < end:
        record = consumer.poll(20)
        assert record is not None, f"{topic} ended after {len(found)} of {end}"
        source = dict(record.headers() or []).get("source", b"").decode()
        found.append(Record(record.key(), record.value(), source))
    consumer.close()
    return found


def high(consumer: Consumer, topic: str) -> int:
    return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)[1])


@dataclass(frozen=True)
class Paid:
    """Five thousand payments in a topic, and what a run that nothing disturbed made of them."""

    stage: Any
    transactions: list[Any]
    messages: list[Any]
    decisions: list[Record]
    letters: list[Record]


def bounded(stage: Any, state: Path, name: str = "score") -> int:
    job = catalog.job(stage.pipeline, name)
    topics = stage.pipeline.topics
    inputs, outputs = topics_of(job.inputs, topics), topics_of(job.outputs, topics)
    return run_kafka(
        job,
        lambda offsets: KafkaBroker(stage.clients, inputs, outputs, offsets),
        state,
        stop=threading.Event(),
        bounded=True,
    )


@pytest.fixture(scope="module")
def paid(
    on_kafka: Callable[..., Any], generator: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Paid:
    folder = tmp_path_factory.mktemp("paid")
    stage = on_kafka(folder, "paid")
    transactions = list(generator.transactions(generator.World(days=8, broken=0.02)))
    messages = [(tx.key, generator.encode(tx)) for tx in transactions]
    topics = stage.pipeline.topics
    produce(stage.clients, topics[EVENTS], messages)
    assert bounded(stage, folder / "state") == len(messages)
    assert bounded(stage, folder / "state") == 0
    return Paid(
        stage,
        transactions,
        messages,
        read(stage.clients, topics[DECISIONS]),
        read(stage.clients, topics[DEAD_LETTERS]),
    )


def offset(record: Record) -> int:
    assert record.source is not None
    topic, partition, number = record.source.split("/")
    assert (topic, partition) == ("paid-events", "0")
    return int(number)


def test_every_event_is_decided_once_and_says_where_it_came_from(paid: Paid) -> None:
    decode = stream_decoder(DECISIONS, paid.stage.pipeline.spec.settings)
    whole = [number for number, tx in enumerate(paid.transactions) if tx.broken is None]
    assert [offset(record) for record in paid.decisions] == whole
    for record in paid.decisions:
        tx = paid.transactions[offset(record)]
        decision = decode(record.value or b"")
        assert (decision["event_id"], record.key) == (tx.transaction_id, tx.customer_id.encode())
        assert (decision["pipeline"], decision["event_time"]) == ("paid", tx.event_time)


def test_every_broken_event_is_a_dead_letter(paid: Paid) -> None:
    decode = stream_decoder(DEAD_LETTERS, paid.stage.pipeline.spec.settings)
    broken = [number for number, tx in enumerate(paid.transactions) if tx.broken is not None]
    assert [offset(record) for record in paid.letters] == broken
    assert len(broken) > 50
    for record in paid.letters:
        letter = decode(record.value or b"")
        key, value = paid.messages[offset(record)]
        assert (letter["topic"], letter["offset"]) == ("paid-events", offset(record))
        assert (letter["key"], letter["value"]) == (key, value)
        assert letter["timestamp"] > 1_600_000_000_000
        assert record.key == (key or b"")


def test_a_restart_goes_on_where_it_was(
    on_kafka: Callable[..., Any], paid: Paid, tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "again")
    topic = stage.pipeline.topics[EVENTS]
    for start, end in ((0, 200), (200, 203), (203, 400)):
        produce(stage.clients, topic, paid.messages[start:end])
        assert bounded(stage, tmp_path / "state") == end - start
    decode = stream_decoder(DECISIONS, stage.pipeline.spec.settings)
    whole = {stage_free(decode(record.value or b"")) for record in paid.decisions[:300]}
    found = read(stage.clients, stage.pipeline.topics[DECISIONS])
    assert len(found) > 350
    assert {stage_free(decode(record.value or b"")) for record in found[:300]} == whole


def stage_free(decision: dict[str, Any]) -> str:
    """Write a decision but for what its pipeline's name goes into."""
    return repr({k: v for k, v in decision.items() if k not in ("pipeline", "decision_id")})


def test_after_kill_9_every_event_is_decided_and_repeats_are_the_same_bytes(
    paid: Paid,
    variant: Callable[..., Path],
    verdict: Callable[..., Any],
    kafka: LocalKafka,
    tmp_path: Path,
) -> None:
    clients = paid.stage.clients
    topics = {DECISIONS: "killed-decisions", DEAD_LETTERS: "killed-dead-letters"}
    file = variant(
        tmp_path / "killed.yaml",
        pipeline="paid",
        events={"topic": "paid-events"},
        topics={stream.value: topic for stream, topic in topics.items()},
        settings={"kafka": {"bootstrap.servers": kafka.bootstrap}},
    )
    create_topics(clients, list(topics.values()))
    consumer = Consumer({**clients.consumer, "group.id": "look"})
    process = subprocess.Popen([sys.executable, "-m", "verdict", "run", str(file)])
    try:
        deadline = time.monotonic() + DEADLINE_S
        while high(consumer, topics[DECISIONS]) < 700 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait(20)
    reached = high(consumer, topics[DECISIONS])
    consumer.close()
    assert 700 <= reached < len(paid.decisions), "it should have died in the middle"
    ran = verdict("run", file, "--bounded", "--json")
    assert (ran.code, ran.err) == (0, "")
    for stream, wanted in ((DECISIONS, paid.decisions), (DEAD_LETTERS, paid.letters)):
        first: dict[int, Record] = {}
        for record in read(clients, topics[stream]):
            assert first.setdefault(offset(record), record) == record
        assert list(first.values()) == wanted


def test_what_a_transaction_leaves_behind_the_last_record_is_the_end_too(
    on_kafka: Callable[..., Any], paid: Paid, verdict: Callable[..., Any], tmp_path: Path
) -> None:
    """A commit marker has an offset and is no record; an aborted record is never read."""
    stage = on_kafka(tmp_path, "transactional")
    topic = stage.pipeline.topics[EVENTS]
    producer = Producer({**stage.clients.producer, "transactional.id": "upstream"})
    producer.init_transactions(20)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for key, value in paid.messages[:20]:
            producer.produce(topic, value, key)
        producer.flush(20)
        end(20)
    assert bounded(stage, tmp_path / "state") == 20
    assert bounded(stage, tmp_path / "state") == 0
    ran = verdict("tail", stage.file, "decisions", "-n", "100", "--json")
    assert ran.code == 0 and len(ran.out.splitlines()) > 15


def test_several_partitions_are_read_each_in_its_order(
    on_kafka: Callable[..., Any], paid: Paid, tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "parts", create=False)
    topics = stage.pipeline.topics
    create_topics(stage.clients, [topics[EVENTS]], partitions=3)
    create_topics(stage.clients, list(topics.values()))
    messages = [(key, value) for key, value in paid.messages[:300] if key]
    produce(stage.clients, topics[EVENTS], messages)
    broker = KafkaBroker(stage.clients, {EVENTS: topics[EVENTS]}, {}, {})
    found: dict[int, list[Message]] = {}
    offsets: dict[str, int] = {}
    deadline = time.monotonic() + DEADLINE_S
    while not broker.at_end(offsets) and time.monotonic() < deadline:
        for message in broker.poll(50, 0.1):
            found.setdefault(message.partition, []).append(message)
            offsets[f"{message.topic}/{message.partition}"] = message.offset + 1
    broker.close()
    assert sum(map(len, found.values())) == len(messages)
    assert len(found) == 3
    for partition in found.values():
        assert [message.offset for message in partition] == list(range(len(partition)))
    keys = [{message.key for message in partition} for partition in found.values()]
    assert not (keys[0] & keys[1] or keys[1] & keys[2] or keys[0] & keys[2])
    assert {message.stream for partition in found.values() for message in partition} == {EVENTS}


def test_offsets_that_a_topic_does_not_have_are_refused(paid: Paid) -> None:
    topics: dict[str, str] = {EVENTS: "paid-events"}
    with pytest.raises(
        KafkaError,
        match=r"'paid-events' ends at offset \d+, the state has read it up to 999999: the topic",
    ):
        KafkaBroker(paid.stage.clients, topics, {}, {"paid-events/0": 999_999})


def test_a_missing_topic_is_named_with_the_command_that_makes_it(
    on_kafka: Callable[..., Any], tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "missing", create=False)
    create_topics(stage.clients, ["missing-events", "missing-decisions"])
    with pytest.raises(KafkaError, match=r"'missing-dead-letters' does not exist .*topics create"):
        bounded(stage, tmp_path / "state")


def test_a_record_that_is_too_large_is_an_error_of_its_topic(paid: Paid) -> None:
    broker = KafkaBroker(paid.stage.clients, {}, {DECISIONS: "paid-decisions"}, {})
    cause = Message(EVENTS, None, None, "t", 0, 0, 0)
    with pytest.raises(KafkaError, match=r"writing paid-decisions: .*too large"):
        broker.send(OutputRecord(DECISIONS, b"", bytes(2_000_000), cause))
    broker.flush()
    broker.close()


def test_shadow_and_watch_run_behind_score(
    on_kafka: Callable[..., Any], paid: Paid, tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "behind")
    produce(stage.clients, stage.pipeline.topics[EVENTS], paid.messages[:800])
    assert bounded(stage, tmp_path / "score") == 800
    decided = len(read(stage.clients, "behind-decisions"))
    assert bounded(stage, tmp_path / "shadow", "shadow") == decided
    assert bounded(stage, tmp_path / "watch", "watch") == 2 * decided
    shadowed = read(stage.clients, "behind-shadow-scores")
    assert [record.source for record in shadowed] == [
        f"behind-decisions/0/{number}" for number in range(decided)
    ]
    assert read(stage.clients, "behind-comparison")


def test_lag_is_known_to_another_thread_while_an_idle_job_polls(
    on_kafka: Callable[..., Any], tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "idle")
    topic = stage.pipeline.topics[EVENTS]
    broker = KafkaBroker(stage.clients, {EVENTS: topic}, {}, {})
    asked = 0

    def scrape() -> None:
        nonlocal asked
        while asked < 100:
            broker.lags({})
            asked += 1

    scraping = threading.Thread(target=scrape, daemon=True)
    scraping.start()
    deadline = time.monotonic() + DEADLINE_S
    while asked < 100 and time.monotonic() < deadline:
        broker.poll(10, 0.01)  # as a job does to which nothing comes
    assert asked == 100
    broker.close()


def test_lag_is_known_without_asking_and_a_transaction_s_marker_is_none(
    on_kafka: Callable[..., Any], paid: Paid, tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "lagging")
    topic = stage.pipeline.topics[EVENTS]
    broker = KafkaBroker(stage.clients, {EVENTS: topic}, {}, {})
    assert broker.lags({}) == {}  # nothing was heard yet
    producer = Producer({**stage.clients.producer, "transactional.id": "lagging"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for key, value in paid.messages[:7]:
        producer.produce(topic, value, key)
    producer.commit_transaction(20)
    offsets: dict[str, int] = {}
    found: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    while not found and time.monotonic() < deadline:
        found = broker.poll(4, 0.1)
    assert broker.lags(offsets) == {(topic, 0): 8}
    while len(found) < 7 and time.monotonic() < deadline:
        found += broker.poll(4, 0.1)
    offsets[f"{topic}/0"] = 6
    assert broker.lags(offsets)[topic, 0] == 2
    offsets[f"{topic}/0"] = 7
    while broker.lags(offsets)[topic, 0] and time.monotonic() < deadline:
        assert broker.poll(4, 0.1) == []
    assert broker.lags(offsets) == {(topic, 0): 0}
    broker.close()
    assert broker.lags(offsets) == {}


def test_headers_that_are_not_listed_are_not_carried(
    on_kafka: Callable[..., Any], tmp_path: Path
) -> None:
    stage = on_kafka(tmp_path, "headers")
    topic = stage.pipeline.topics[EVENTS]
    producer = Producer(stage.clients.producer)
    given = [
        [("a", b"1"), ("b", b"\xff\0"), ("c", b"3"), ("a", b"2")],
        [("a", b"x" * 8_192)],
        [("a", b"x" * 8_193)],
        [("b", None), ("a", b"")],
        None,
    ]
    for headers in given:
        producer.produce(topic, b"", headers=headers)
    assert producer.flush(20) == 0
    found: dict[tuple[str, ...], list[Any]] = {}
    deadline = time.monotonic() + DEADLINE_S
    for carry in ((), ("b", "a")):
        broker = KafkaBroker(stage.clients, {EVENTS: topic}, {}, {}, carry)
        taken = found[carry] = []
        while len(taken) < len(given) and time.monotonic() < deadline:
            taken += [message.carried for message in broker.poll(9, 0.1)]
        broker.close()
    assert found[()] == [()] * len(given)
    big = (("a", b"x" * 8_192),)
    assert found["b", "a"] == [(("b", b"\xff\0"), ("a", b"2")), big, (), (("a", b""),), ()]


def drained(broker: KafkaBroker, wanted: int) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < wanted and time.monotonic() < deadline:
        found += broker.poll(7, 0.1)
    assert len(found) == wanted
    return found


def test_labels_come_before_the_events_that_were_there_with_them(
    on_kafka: Callable[..., Any], tmp_path: Path
) -> None:
    """Of labels in several partitions, one of them empty and one that ends with a marker."""
    stage = on_kafka(tmp_path, "ordered")
    topics: dict[str, str] = {EVENTS: stage.pipeline.topics[EVENTS], LABELS: "ordered-labels"}
    create_topics(stage.clients, [topics[LABELS]], partitions=3)
    produce(stage.clients, topics[EVENTS], [(b"c", b"%d" % n) for n in range(30)])
    producer = Producer({**stage.clients.producer, "transactional.id": "ordered"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for n in range(20):
        producer.produce(topics[LABELS], b"l%d" % n, b"c", partition=n % 2)
    producer.commit_transaction(20)
    broker = KafkaBroker(stage.clients, topics, {}, {}, first=[LABELS])
    streams = [message.stream for message in drained(broker, 50)]
    assert streams == [LABELS] * 20 + [EVENTS] * 30
    produce(stage.clients, topics[LABELS], [(b"c", b"later")])
    produce(stage.clients, topics[EVENTS], [(b"c", b"later")])
    assert {message.stream for message in drained(broker, 2)} == {EVENTS, LABELS}
    broker.close()

    # Where they were read before, nothing is waited for.
    known = {f"{topics[LABELS]}/{n}": 11 for n in (0, 1)} | {f"{topics[LABELS]}/2": 0}
    broker = KafkaBroker(stage.clients, topics, {}, known, first=[LABELS])
    assert {message.stream for message in drained(broker, 32)} == {EVENTS, LABELS}
    broker.close()
    # A job that wants none first takes them as they come.
    decisions: dict[str, str] = {DECISIONS: topics[EVENTS], LABELS: topics[LABELS]}
    broker = KafkaBroker(stage.clients, decisions, {}, {})
    assert len(drained(broker, 52)) == 52
    broker.close()
