"""Topics, records and waiting, as the tests of the Flink engine share them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from verdict.operators.message import Message
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.settings import Settings
from verdict.pipelines.topology import Job

DEADLINE_S = 90.0
"""Several times what a start takes on a busy machine."""
UNCOMMITTED, COMMITTED = "read_uncommitted", "read_committed"


class Out(NamedTuple):
    """An output record, as it is compared."""

    stream: str
    key: bytes | None
    value: bytes | None
    source: bytes


class Record(NamedTuple):
    """A record as it lies in a topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int


class Topics:
    """A job's topics on a broker, under a prefix of their own."""

    def __init__(self, kafka: LocalKafka, prefix: str, job: Job, partitions: int = 1) -> None:
        self.job = job
        self.names = {stream: f"{prefix}-{stream}" for stream in (*job.inputs, *job.outputs)}
        self.config: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap, "log_level": 0}
        made = clients(Settings(kafka={"bootstrap.servers": kafka.bootstrap}))
        create_topics(made, list(self.names.values()), partitions)
        self._readers: dict[tuple[str, str], Reader] = {}

    def send(self, stream: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        producer = Producer(self.config)
        for key, value in records:
            producer.produce(self.names[stream], key=key, value=value)
        assert producer.flush(30) == 0

    def inputs(self) -> list[Message]:
        """Read the inputs as the engine should."""
        return [
            Message(stream, record.key, record.value, self.names[stream], 0, offset, record[3])
            for stream in self.job.inputs
            for offset, record in enumerate(self.read(stream))
        ]

    def outputs(self, isolation: str = UNCOMMITTED) -> list[Out]:
        found = []
        for stream in self.job.outputs:
            for key, value, headers, _ in self.read(stream, isolation):
                assert [name for name, _ in headers] == ["source"]
                found.append(Out(stream, key, value, headers[0][1]))
        return found

    def read(self, stream: str, isolation: str = UNCOMMITTED) -> list[Record]:
        reader = self._readers.get((stream, isolation))
        if reader is None:
            reader = Reader(self.config["bootstrap.servers"], self.names[stream], isolation)
            self._readers[stream, isolation] = reader
        return reader.read()


class Reader:
    """Reads a topic from its beginning, and later what has come since.

    To its end rather than to an offset: transactions leave marks that have offsets, too.
    """

    def __init__(self, bootstrap: str, topic: str, isolation: str = UNCOMMITTED) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
                "fetch.wait.max.ms": 50,
                "log_level": 0,
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        self._records: dict[int, list[Record]] = {number: [] for number in sorted(partitions)}
        self._unread = set(partitions)

    def read(self) -> list[Record]:
        """Return what is in the topic now, partition after partition."""
        while True:
            record = self._consumer.poll(10 if self._unread else 0.1)
            if record is None:
                assert not self._unread
                return [record for records in self._records.values() for record in records]
            if record.error() is not None:
                assert record.error().code() == KafkaError._PARTITION_EOF
                self._unread.discard(record.partition())
                continue
            self._records[record.partition()].append(
                Record(record.key(), record.value(), record.headers() or [], record.timestamp()[1])
            )


def until(holds: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


RUN = """
import json, sys
from verdict.pipelines.engines.flink.run import run
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.deployment.main import job_of
run(job_of(sys.argv[1]), json.loads(sys.argv[2]), FlinkSettings.from_json(sys.argv[3]))
"""


def start_job(
    topics: Topics, settings: FlinkSettings, printed: Path, made_by: str | None = None
) -> subprocess.Popen[bytes]:
    """Run a job as a process of its own, with all that it prints in a file."""
    job_ref = f"tests.integration.flink_jobs:{made_by or topics.job.name}"
    with printed.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, job_ref, json.dumps(topics.names), settings.as_json()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
