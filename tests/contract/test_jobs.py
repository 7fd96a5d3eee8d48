"""Every job, found by itself, through both engines: the same input, the same bytes."""

import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from tests.integration.flink_topics import until
from verdict.operators.names import (
    DEAD_LETTERS,
    DECISIONS,
    ENTITY_LABELS,
    EVENTS,
    LABELS,
    LABELS_JOB,
    SCORE_JOB,
    SHADOW_JOB,
    WATCH_JOB,
)
from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.flink.cluster import FlinkCluster
from verdict.pipelines.engines.flink.prepare import prepare
from verdict.pipelines.engines.flink.rest import ENDED, Rest
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.engines.flink.submit import SHORT_LIVED_JAVA, Submitter, submitting
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.history import backfill
from verdict.pipelines.jobs import catalog
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings
from verdict.pipelines.topology import Job, topics_of

# PyFlink's own, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT = Path(__file__).parents[2]
EVENT_COUNT = 2_500  # four days, so that windows of a day close
HEADERS: list[list[tuple[str, bytes | None]]] = [
    [],
    [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
    [("other", b"1"), ("source", b"theirs"), ("reply-topic", b"a"), ("correlation-id", b"-,-")],
    [("tracestate", bytes(range(256))), ("traceparent", b"1"), ("traceparent", b"2")],
    [("correlation-id", b""), ("reply-topic", None), ("tracestate", None)],
    [("reply-topic", b"x" * 8_000), ("tracestate", b"\xff" * 192)],
    [("reply-topic", b"x" * 8_000), ("tracestate", b"\xff" * 193)],
    [("traceparent", b"1"), ("traceparent", None), ("reply-topic", "für".encode())],
]
"""Those of the events, by turns: opaque bytes, several of a name, none, just too many or not."""
CARRIED = [
    [],
    HEADERS[1],
    [("correlation-id", b"-,-"), ("reply-topic", b"a")],
    [("traceparent", b"2"), ("tracestate", bytes(range(256)))],
    [("correlation-id", b"")],
    HEADERS[5][::-1],
    [],
    [HEADERS[7][2]],
]
"""What becomes of them."""
RICH = """
  way_count_7d: {count: "*", over: 7d, by: way, default: 0}
  way_first: {first: amount, over: 1d, by: way, default: 0, current: false}
  way_spread: {std: amount, over: 2d, by: way, default: 0}
  way_least: {min: amount, over: 2d, by: way, default: 0}
  way_customers: {distinct: customer_id, over: 1d, by: way, default: 0}
  way_nights: {count: "*", over: 2d, by: way, default: 0, where: hour(event_time) < 6}
  way_yesterday: {mean: amount, over: 1d, delay: 1d, by: way, default: 0}
  way_faded: {sum: amount, half_life: 1d, by: way, default: 0}
  way_gap: {time_since_last: "*", over: 1d, by: way, default: -1}
  above: amount / (way_yesterday + 1)
"""
"""Every aggregate, of an entity with so many events that its rows lie in pages."""
LABELLED = """
labels:
  topic: reported
  format: json
  schema: label.avsc
  event_id: payment
  value: fraud
  known_at: known_at
  source: who
features:
  terminal_risk: {rate: label, over: 1d, delay: 1d, by: terminal, default: 0}
"""
LABEL = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "who", "type": "string"},
    ],
}
LABELLED_COUNT = 400
BROKEN = 0.02


@dataclass(frozen=True)
class Stage:
    """A pipeline whose topics hold what each of its jobs reads."""

    pipeline: Pipeline
    clients: Clients
    topics: dict[str, str]
    folder: Path

    def written(self, job: str, stream: str) -> str:
        """Topic of an embedded job's output; every job has dead letters of its own."""
        topic = self.topics[stream]
        return f"{topic}-{job}" if stream == DEAD_LETTERS else topic


def run_embedded(stage: Stage, job: Job) -> None:
    written = {stream: stage.written(job.name, stream) for stream in job.outputs}
    create_topics(stage.clients, list(written.values()))
    run_kafka(
        job,
        lambda offsets: KafkaBroker(
            stage.clients,
            topics_of(job.inputs, stage.topics),
            written,
            offsets,
            job.carry,
            job.first,
        ),
        stage.folder / f"embedded-{job.name}",
        stop=threading.Event(),
        bounded=True,
    )


Headers = list[tuple[str, bytes]]


def read(stage: Stage, topic: str) -> list[tuple[str, bytes | None, bytes | None, Headers]]:
    """Read a topic whole: source, key, value and all headers, in the order of the sources.

    What several operators put out of different records may overtake each other.
    """
    ours = {"group.id": "read", "enable.partition.eof": True}
    consumer = Consumer({**stage.clients.consumer, **ours})
    consumer.assign([TopicPartition(topic, 0, 0)])
    records: list[tuple[str, bytes | None, bytes | None, Headers]] = []
    while True:
        record = consumer.poll(10)
        assert record is not None, f"{topic} has no end after {len(records)} records"
        if record.error() is not None:
            assert record.error().code() == KafkaError._PARTITION_EOF
            break
        headers = record.headers()
        assert headers[0][0] == "source"
        records.append((headers[0][1].decode(), record.key(), record.value(), headers))
    consumer.close()

    def place(record: tuple[str, bytes | None, bytes | None, Headers]) -> tuple[str, int, int]:
        topic, partition, offset = record[0].rsplit("/", 2)
        return topic, int(partition), int(offset)

    return sorted(records, key=place)


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest,
    kafka: LocalKafka,
    generator: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stage:
    """Play events, and let the embedded engine make the inputs of the jobs behind ``score``."""
    folder = tmp_path_factory.mktemp(request.param)
    example = ROOT / "examples" / "card-fraud"
    for name in ("transaction.avsc", "models"):
        (folder / name).symlink_to(example / name)
    text = (example / "pipeline.yaml").read_text()
    if request.param == "rich":
        text = text.replace("  keyed_by: customer\n", "")
        text = text.replace("features:\n", f"  way: [channel, currency]\nfeatures:\n{RICH}")
    if request.param == "labelled":
        (folder / "label.avsc").write_text(json.dumps(LABEL))
        text = text.replace("features:\n", LABELLED)
    (folder / "pipeline.yaml").write_text(text)
    pipeline = load(folder / "pipeline.yaml")
    # A topic's end is told by an answer without records, with which a broker takes its time.
    config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "fetch.wait.max.ms": 50}
    made = clients(Settings(kafka=config))
    topics = {stream: f"{request.param}-{stream}" for stream in pipeline.topics}
    create_topics(made, list(topics.values()))
    stage = Stage(pipeline, made, topics, folder)
    producer = Producer(made.producer)
    world = generator.World(days=None, seed=3, broken=BROKEN)
    names = [name for name in catalog.JOBS if name != LABELS_JOB]
    count = EVENT_COUNT
    if request.param == "labelled":
        names, count = [SCORE_JOB, LABELS_JOB], LABELLED_COUNT
    for number, transaction in enumerate(islice(generator.transactions(world), count)):
        headers = HEADERS[number % len(HEADERS)]
        value = generator.encode(transaction)
        producer.produce(topics[EVENTS], value, transaction.key, headers=headers)
        if request.param == "labelled" and number % 3 == 0:
            for label in labels_of(transaction, number):
                producer.produce(topics[LABELS], label)
    producer.produce(topics[EVENTS], None, b"tombstone")
    producer.produce(topics[EVENTS], b"", None)
    assert producer.flush(30) == 0
    for name in names:
        run_embedded(stage, catalog.job(pipeline, name))
    return stage


def labels_of(transaction: Any, number: int) -> list[bytes]:
    """Say something of an event: once, twice, by two, of none, or what cannot be read."""
    label = {
        "payment": transaction.transaction_id if number % 5 else f"none-{number}",
        "fraud": number % 2 == 0,
        "known_at": transaction.event_time + number,
        "who": "bank",
    }
    labels = [json.dumps(label).encode()]
    if number % 4 == 0:
        labels *= 2
    if number % 7 == 0:
        labels.append(json.dumps({**label, "who": "customer", "fraud": False}).encode())
    if number % 11 == 0:
        labels.append(json.dumps({**label, "fraud": 2}).encode())
    return labels


@dataclass(frozen=True)
class Flink:
    """A cluster, and what hands jobs to it: warm from the second job on, which then takes 3 s."""

    address: str
    client: Submitter
    settings: FlinkSettings


@pytest.fixture(scope="module")
def flink(kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flink]:
    jars, folder = flink_jars(), tmp_path_factory.mktemp("flink")
    prepare(jars)
    settings = FlinkSettings(
        kafka.bootstrap, folder / "client", folder / "checkpoints", jars, bounded=True
    )
    with (
        FlinkCluster(folder / "cluster", jars, java_options=SHORT_LIVED_JAVA) as cluster,
        submitting(cluster.address, settings) as client,
    ):
        yield Flink(cluster.address, client, settings)


def run_on_flink(stage: Stage, name: str, flink: Flink) -> dict[str, str]:
    """Run a job on Flink, to topics of its own; return these."""
    job = catalog.job(stage.pipeline, name)
    written = {stream: f"{stage.written(name, stream)}-flink" for stream in job.outputs}
    create_topics(stage.clients, list(written.values()))
    topics = {**stage.topics, **written}
    job_id = flink.client.prepare(job, topics, flink.settings)()
    rest = Rest(flink.address)
    until(lambda: rest.state(job_id) in ENDED)
    assert rest.state(job_id) == "FINISHED", rest.failure(job_id)
    return written


def assert_same_bytes(stage: Stage, name: str, written: dict[str, str]) -> None:
    if name == SCORE_JOB:
        assert_backfilled(stage, written[DECISIONS])
    counts = {}
    for stream, topic in written.items():
        ours, theirs = read(stage, stage.written(name, stream)), read(stage, topic)
        assert theirs == ours, stream
        counts[stream] = len(ours)
        if name != WATCH_JOB and stream != DEAD_LETTERS:
            assert_carried(theirs, name)
    if name == SCORE_JOB:
        assert sum(counts.values()) == EVENT_COUNT + 2
        assert counts[DEAD_LETTERS] > BROKEN / 2 * EVENT_COUNT
    assert all(count for stream, count in counts.items() if stream != DEAD_LETTERS)


def assert_backfilled(stage: Stage, topic: str) -> None:
    """A backfill of the events gives, bit for bit, what was decided live."""
    pipeline = stage.pipeline
    decode = stream_decoder(DECISIONS, pipeline.spec.settings)
    decided = [decode(value) for _, _, value, _ in read(stage, topic) if value is not None]
    # A container can hold the events that are of the schema; of the others none is in a window.
    file = stage.folder / "events-of-decisions.avro"
    values = events_of(stage, {source for source, *_ in read(stage, topic)})
    container = AvroFile(file, pipeline.schema.definition, 0)
    container.append(values)
    container.close()
    made = backfill.batches(pipeline, [file], features_only=False)
    rows = [row for batch in made for row in batch.to_pylist()]

    def bits(value: float | None) -> bytes:
        return b"" if value is None else struct.pack("<d", value)

    names = list(pipeline.spec.features)
    assert [
        (row["event_id"], bits(row["score"]), row["action"], [bits(row[name]) for name in names])
        for row in rows
    ] == [
        (
            decision["event_id"],
            bits(decision["score"]),
            decision["action"],
            [bits(decision["features"][name]) for name in names],
        )
        for decision in decided
    ]


def events_of(stage: Stage, sources: set[str]) -> list[bytes]:
    """Read the events that were decided, in the order of the topic."""
    ours = {"group.id": "events", "enable.partition.eof": True}
    consumer = Consumer({**stage.clients.consumer, **ours})
    topic, values = stage.topics[EVENTS], []
    consumer.assign([TopicPartition(topic, 0, 0)])
    while (record := consumer.poll(10)) is not None and record.error() is None:
        if f"{topic}/0/{record.offset()}" in sources:
            values.append(record.value())
    consumer.close()
    assert len(values) == len(sources)
    return values


def assert_carried(
    records: list[tuple[str, bytes | None, bytes | None, Headers]], name: str
) -> None:
    """Each record has those headers of its event that its job carries, and no other."""
    if name == SCORE_JOB:
        for source, *_, headers in records:
            number = int(source.rpartition("/")[2])
            wanted = CARRIED[number % len(HEADERS)] if number < EVENT_COUNT else []
            assert headers[1:] == wanted, source
    names = {each for *_, headers in records for each, _ in headers[1:]}
    both = {"traceparent", "tracestate"}
    assert names == (both if name == SHADOW_JOB else both | {"correlation-id", "reply-topic"})


# Whether the topic's key is the entity's matters to the score job alone: of the rich it is not; one
# of which it is puts out the same bytes in test_bad_input.py.
CASES = [("keyed", name) for name in catalog.JOBS if name not in (SCORE_JOB, LABELS_JOB)]
CASES += [("rich", SCORE_JOB)]


@pytest.mark.parametrize(("stage", "name"), CASES, indirect=["stage"], scope="module")
def test_both_engines_put_out_the_same_bytes(name: str, stage: Stage, flink: Flink) -> None:
    assert_same_bytes(stage, name, run_on_flink(stage, name, flink))


@pytest.mark.parametrize("stage", ["labelled"], indirect=True, scope="module")
def test_labels_meet_their_decisions_on_both_engines(stage: Stage, flink: Flink) -> None:
    """Which of the two comes last, and so is the source, is no matter of the engine."""
    job, found = LABELS_JOB, {}
    written = run_on_flink(stage, job, flink)
    for stream, topic in written.items():
        ours = {(key, value) for _, key, value, _ in read(stage, stage.written(job, stream))}
        assert {(key, value) for _, key, value, _ in read(stage, topic)} == ours, stream
        found[stream] = len(ours)
    assert found[ENTITY_LABELS] > LABELLED_COUNT / 5
    assert found[DEAD_LETTERS] == len(range(0, LABELLED_COUNT, 33))
    decode = stream_decoder(ENTITY_LABELS, stage.pipeline.spec.settings)
    for _, key, value, _ in read(stage, written[ENTITY_LABELS]):
        label = decode(value or b"")
        assert label["keys"][0] == {"entity": "customer", "key": (key or b"").decode()}
