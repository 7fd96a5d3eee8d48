"""Records fetched again by their coordinates."""

import time
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as Code

from verdict.operators.message import NO_TIMESTAMP
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.admin import ANSWER_S, connect
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.coordinates import Coordinates

POLL_S = 0.5
SILENT_S = 30.0
"""How long a broker that answered before may say nothing."""
NEAR = 2_000
"""Offsets up to so far ahead are read on to, not sought."""
Headers = list[tuple[str, bytes | None]]


class Original(NamedTuple):
    """A record, fetched again."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


class Originals:
    """Fetches records by their coordinates; quick for those that lie close together.

    Parameters
    ----------
    settings
        Of the clients.
    """

    def __init__(self, settings: Clients) -> None:
        ours: dict[str, Any] = {"group.id": "verdict-dlq", "enable.partition.eof": True}
        # What was scored is named by its offset, whatever its transaction; and little in advance,
        # for the next one wanted may lie elsewhere.
        ours |= {"isolation.level": "read_uncommitted", "queued.max.messages.kbytes": 16_384}
        # Before it goes elsewhere, a consumer waits for the answer to what it asked for last.
        ours["fetch.wait.max.ms"] = 10
        self._consumer = Consumer({**settings.consumer, **ours, "auto.offset.reset": "error"})
        self._topics = _partitions(settings)
        self._at: tuple[str, int, int] | None = None  # the next record that a poll returns
        self._ahead: Any = None  # a record that was read too early

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def fetch(self, place: Coordinates) -> Original | None:
        """Fetch one; None if its topic has it no more."""
        if place.partition >= self._topics.get(place.topic, 0):
            return None
        if not self._near(place):
            self._ahead = None
            partition = TopicPartition(place.topic, place.partition, place.offset)
            low, high = watermarks(self._consumer, partition)
            if not low <= place.offset < high:
                self._at = None
                return None
            self._consumer.assign([partition])
            self._at = place
        deadline = time.monotonic() + SILENT_S
        while True:
            record, self._ahead = self._ahead or self._consumer.poll(POLL_S), None
            if record is None:
                if time.monotonic() > deadline:
                    raise KafkaError(f"{place}: the broker says nothing for {SILENT_S:g} s")
                continue
            error = record.error()
            if error is not None:
                if error.code() == Code._PARTITION_EOF and record.offset() <= place.offset:
                    partition = TopicPartition(place.topic, place.partition)
                    if place.offset < watermarks(self._consumer, partition)[1]:
                        continue  # the end was here when an earlier one was fetched
                self._at = None
                if error.code() in (Code._PARTITION_EOF, Code._AUTO_OFFSET_RESET):
                    return None
                raise KafkaError(f"reading {place}: {error.str()}")
            self._at = (place.topic, place.partition, record.offset() + 1)
            if record.offset() < place.offset:
                continue
            if record.offset() > place.offset:  # compacted away, or a transaction's that failed
                self._ahead = record
                return None
            stamp = record.timestamp()[1] if record.timestamp()[0] else NO_TIMESTAMP
            headers = [(name, value) for name, value in record.headers() or []]
            return Original(record.key(), record.value(), stamp, headers)

    def _near(self, place: Coordinates) -> bool:
        if self._at is None:
            return False
        topic, partition, offset = self._at
        start = self._ahead.offset() if self._ahead is not None else offset
        same = (topic, partition) == (place.topic, place.partition)
        return same and start <= place.offset <= start + NEAR


def _partitions(settings: Clients) -> dict[str, int]:
    topics = connect(settings).list_topics(timeout=ANSWER_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def watermarks(consumer: Any, partition: TopicPartition) -> tuple[int, int]:
    """Ask for a partition's first offset and the one behind its last.

    Raises
    ------
    KafkaError
        The broker does not answer.
    """
    try:
        low, high = consumer.get_watermark_offsets(partition, timeout=10)
    except KafkaException as error:
        raise KafkaError(f"{partition.topic}: {error.args[0].str()}") from None
    return low, high
