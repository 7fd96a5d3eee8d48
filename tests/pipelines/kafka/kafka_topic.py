"""A topic that a test writes to, in and out of transactions, and reads back."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.kafka.read import UNCOMMITTED, Reader, Span
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.settings import Settings

NOW = 1_790_000_000_000
DEADLINE_S = 60


class Topic:
    """A topic of its own for a test."""

    def __init__(
        self, kafka: LocalKafka, name: str, partitions: int = 1, config: Mapping[str, str] = {}
    ) -> None:
        settings = Settings.model_validate({"kafka": {"bootstrap.servers": kafka.bootstrap}})
        self.clients: Clients = clients(settings)
        self.name = name
        create_topics(self.clients, [name], partitions=partitions, config=config)
        self._plain = Producer(self.clients.producer)

    def write(
        self,
        values: Iterable[bytes | None],
        partition: int = 0,
        at: int = NOW,
        key: bytes | None = None,
    ) -> None:
        for value in values:
            self._plain.produce(self.name, value, key, partition=partition, timestamp=at)
        assert self._plain.flush(20) == 0

    def transaction(
        self, values: Sequence[bytes], end: str = "commit", partition: int = 0, at: int = NOW
    ) -> None:
        """Write in a transaction, which ``commit`` or ``abort`` ends; any other leaves it open."""
        marker = self.spans()[partition].end + len(values)
        producer = Producer({**self.clients.producer, "transactional.id": f"{self.name}-{end}"})
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, value, partition=partition, timestamp=at)
        assert producer.flush(20) == 0  # else an aborted one would not be sent at all
        if end in ("commit", "abort"):
            getattr(producer, f"{end}_transaction")(20)
            self.until_marked(marker, partition)
        else:
            self.open = producer

    def until_marked(self, offset: int, partition: int = 0) -> None:
        """Wait for a marker: the broker writes it after it has acknowledged the transaction."""
        until = time.monotonic() + DEADLINE_S
        while self.spans()[partition].end <= offset:
            assert time.monotonic() < until, f"no marker at {self.name}/{partition}/{offset}"

    def forget(self, before: int, partition: int = 0) -> None:
        """Let the broker delete all before an offset, as retention does."""
        admin = AdminClient(self.clients.admin)
        [done] = admin.delete_records([TopicPartition(self.name, partition, before)]).values()
        done.result(20)

    def read(self, isolation: str = UNCOMMITTED, **asked: Any) -> list[bytes]:
        with Reader(self.clients, "test", isolation) as reader:
            return [record.value() for record in reader.read(self.name, **asked)]

    def spans(self) -> dict[int, Span]:
        with Reader(self.clients, "test") as reader:
            return reader.spans(self.name)

    def read_between(self, spans: Mapping[int, Span], **asked: Any) -> list[bytes]:
        with Reader(self.clients, "test") as reader:
            return [record.value() for record in reader.read_between(self.name, spans, **asked)]
