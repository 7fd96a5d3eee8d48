"""The benchmark's topics: made, filled, watched, read and deleted."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from events import Encoded

TIMEOUT_S = 30.0
STEP_S = 0.02
"""Seconds between two looks at something awaited."""
BATCH = 10_000
SETTINGS = {
    # The broker's clock says when a decision was there to be read, the same for every contestant:
    # a producer's timestamp is of the moment it was handed over, or in Quix Streams the event's.
    "message.timestamp.type": "LogAppendTime",
    "file.delete.delay.ms": "1000",
}


class Record(NamedTuple):
    """One record read back."""

    value: bytes
    timestamp: int
    """The broker's, in milliseconds."""


class Topics:
    """One broker's topics.

    Parameters
    ----------
    bootstrap
        ``host:port`` of the broker.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._watcher = self._consumer()

    def _consumer(self) -> Consumer:
        # What is in the topic counts, in a transaction that is still open or not.
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
                "enable.partition.eof": True,
            }
        )

    def create(self, names: Sequence[str], partitions: int = 1) -> None:
        """Make topics, and wait until they can be used."""
        made = self._admin.create_topics(
            [NewTopic(name, partitions, 1, config=SETTINGS) for name in names]
        )
        for future in made.values():
            future.result(TIMEOUT_S)
        for name in names:
            self.end(name)

    def delete(self, names: Sequence[str]) -> None:
        """Delete topics."""
        for future in self._admin.delete_topics(list(names)).values():
            future.result(TIMEOUT_S)

    def fill(self, name: str, events: Iterable[Encoded]) -> int:
        """Write events; return how many."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 20, "acks": "all"})
        count = 0
        for event in events:
            while True:
                try:
                    producer.produce(name, event.value, event.key)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
        if producer.flush(TIMEOUT_S):
            raise KafkaException(f"{name}: events were not acknowledged")
        return count

    def end(self, name: str) -> int:
        """Return the offset behind the last record, which a transaction's marks raise."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                partition = TopicPartition(name, 0)
                return int(self._watcher.get_watermark_offsets(partition, TIMEOUT_S)[1])
            except KafkaException:
                # A topic is made in the background: at first it is unknown, or has no leader, and
                # the client remembers that until it looks again.
                if time.monotonic() > deadline:
                    raise
                time.sleep(STEP_S)
                self._watcher.list_topics(name, TIMEOUT_S)

    def read(self, name: str) -> Iterator[Record]:
        """Yield every record that is in a topic now."""
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(name, 0, 0)])
            while True:
                records = consumer.consume(BATCH, 1.0)
                for record in records:
                    error: Any = record.error()
                    if error is None:
                        yield Record(record.value(), record.timestamp()[1])
                    elif error.name() == "_PARTITION_EOF":
                        return
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()

    def close(self) -> None:
        """Leave the broker."""
        self._watcher.close()
        del self._admin  # it has no close(), and would tell stderr that the broker has gone
