"""Every job, found by itself, through both engines: the same input, the same bytes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipelines import jobs
from pipelines.broker import KafkaBroker, topics_of
from pipelines.embedded import run_kafka
from pipelines.job import Job
from pipelines.kafka import Clients, clients, create_topics
from pipelines.local import LocalKafka
from pipelines.pipeline import Pipeline, load
from pipelines.spec import Settings
from pipelines.streams import EVENTS

ROOT = Path(__file__).parents[2]
RUN_FLINK = Path(__file__).with_name("run_flink.py")
EVENT_COUNT = 2_500  # four days, so that windows of a day close
BROKEN = 0.02
DEADLINE_S = 120


@dataclass(frozen=True)
class Stage:
    """A pipeline whose topics hold what each of its jobs reads."""

    pipeline: Pipeline
    clients: Clients
    topics: dict[str, str]
    folder: Path


def run_embedded(stage: Stage, job: Job, topics: dict[str, str], name: str) -> None:
    inputs, outputs = topics_of(job.inputs, topics), topics_of(job.outputs, topics)
    run_kafka(
        job,
        lambda offsets: KafkaBroker(stage.clients, inputs, outputs, offsets),
        stage.folder / name,
        stop=threading.Event(),
        bounded=True,
    )


def read(stage: Stage, topic: str) -> list[tuple[str, bytes | None, bytes | None]]:
    """Read a topic whole: source header, key and value, in the order of the sources.

    What several operators put out of different records may overtake each other.
    """
    consumer = Consumer({**stage.clients.consumer, "group.id": "read"})
    partition = TopicPartition(topic, 0, 0)
    _, end = consumer.get_watermark_offsets(partition, timeout=10)
    consumer.assign([partition])
    records = []
    while len(records) < end:
        record = consumer.poll(10)
        assert record is not None, f"{topic} ended after {len(records)} of {end}"
        source = dict(record.headers())["source"].decode()
        records.append((source, record.key(), record.value()))
    consumer.close()

    def place(record: tuple[str, bytes | None, bytes | None]) -> tuple[str, int, int]:
        topic, partition, offset = record[0].rsplit("/", 2)
        return topic, int(partition), int(offset)

    return sorted(records, key=place)


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest,
    kafka: LocalKafka,
    generator: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """Play events, and let the embedded engine make the inputs of the jobs behind ``score``."""
    folder = tmp_path_factory.mktemp(request.param)
    example = ROOT / "examples" / "card-fraud"
    for name in ("transaction.avsc", "models"):
        (folder / name).symlink_to(example / name)
    text = (example / "pipeline.yaml").read_text()
    if request.param == "unkeyed":
        text = text.replace("  keyed_by: customer\n", "")
    (folder / "pipeline.yaml").write_text(text)
    pipeline = load(folder / "pipeline.yaml")
    made = clients(Settings(kafka={"bootstrap.servers": kafka.bootstrap}))
    topics = {stream: f"{request.param}-{stream}" for stream in pipeline.topics}
    create_topics(made, list(topics.values()))
    stage = Stage(pipeline, made, topics, folder)
    producer = Producer(made.producer)
    world = generator.World(days=None, seed=3, broken=BROKEN)
    for transaction in islice(generator.transactions(world), EVENT_COUNT):
        producer.produce(topics[EVENTS], generator.encode(transaction), transaction.key)
    producer.produce(topics[EVENTS], None, b"tombstone")
    producer.produce(topics[EVENTS], b"", None)
    assert producer.flush(30) == 0
    for name in jobs.JOBS:
        run_embedded(stage, jobs.job(pipeline, name), topics, f"embedded-{name}")
    yield stage


# Only the score job depends on whether the topic's key is the entity's.
CASES = [("keyed", name) for name in jobs.JOBS] + [("unkeyed", jobs.SCORE_JOB)]


@pytest.mark.parametrize(("stage", "name"), CASES, indirect=["stage"], scope="module")
def test_both_engines_put_out_the_same_bytes(name: str, stage: Stage) -> None:
    job = jobs.job(stage.pipeline, name)
    written = {stream: f"{stage.topics[stream]}-{name}" for stream in job.outputs}
    topics = {**stage.topics, **written}
    create_topics(stage.clients, list(written.values()))
    asked = {
        "pipeline": str(stage.pipeline.path),
        "job": name,
        "topics": topics,
        "folder": str(stage.folder / f"flink-{name}"),
        "bootstrap": stage.clients.servers,
    }
    done = subprocess.run(
        [sys.executable, str(RUN_FLINK), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = {**topics, **{stream: f"{topics[stream]}-embedded" for stream in job.outputs}}
    create_topics(stage.clients, [again[stream] for stream in job.outputs])
    run_embedded(stage, job, again, f"again-{name}")
    for stream in job.outputs:
        ours, theirs = read(stage, again[stream]), read(stage, topics[stream])
        assert theirs == ours, stream
    counts = {stream: len(read(stage, topics[stream])) for stream in job.outputs}
    if name == jobs.SCORE_JOB:
        assert sum(counts.values()) == EVENT_COUNT + 2
        assert counts["dead-letters"] > BROKEN / 2 * EVENT_COUNT
    assert all(counts[stream] for stream in job.outputs if stream != "dead-letters")
