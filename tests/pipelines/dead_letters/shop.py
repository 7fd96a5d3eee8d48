"""A pipeline of two partitions on a real broker, whose dead letters are looked at."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from verdict.operators.errors import BadRecord
from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS, EVENTS, BadKind
from verdict.operators.records.dead_letter import dead_letter
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.spec.pipeline import Pipeline

Verdict = Callable[..., Any]
STREAMS = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")
NOW = 1_790_000_000_000


@dataclass(frozen=True)
class Shop:
    """The example's pipeline, reading JSON, on topics of its own of two partitions."""

    file: Path
    pipeline: Pipeline
    clients: Clients
    events: str
    letters: str

    def send(self, value: bytes | None, **more: Any) -> Coordinates:
        """Produce an event; say where it lies."""
        return send(self.clients, self.events, value, **more)

    def letter(self, message: Message, job: str = "score", **changes: Any) -> None:
        """Write a dead letter of a record."""
        error = BadRecord(BadKind.NOT_JSON, "not JSON: made for a test")
        made = dead_letter(
            self.pipeline.spec.pipeline, job, message, error, message.key, message.value
        )
        value = stream_encoder(DEAD_LETTERS)({**made, **changes})
        send(self.clients, self.letters, value, key=message.key, timestamp=0)

    def message(self, place: Coordinates, value: bytes | None, key: bytes | None = b"c") -> Message:
        return Message(EVENTS, key, value, *place, NOW)


PRODUCERS: dict[str, Any] = {}
"""One a broker: each takes half a second to be given its id."""


def send(clients: Clients, topic: str, value: bytes | None, **more: Any) -> Coordinates:
    places: list[Coordinates] = []

    def delivered(error: Any, record: Any) -> None:
        assert error is None, error
        places.append(Coordinates(record.topic(), record.partition(), record.offset()))

    if clients.servers not in PRODUCERS:
        large = {"message.max.bytes": 30_000_000}
        PRODUCERS[clients.servers] = Producer({**clients.producer, **large})
    more = {"key": b"c", "partition": 0, "timestamp": NOW, **more}
    PRODUCERS[clients.servers].produce(topic, value=value, on_delivery=delivered, **more)
    assert PRODUCERS[clients.servers].flush(20) == 0
    return places[0]


def event(number: int, **changes: Any) -> bytes:
    """Make a card payment."""
    made = {
        "transaction_id": f"t{number}",
        "event_time": NOW + number,
        "customer_id": "c",
        "terminal": None,
        "channel": "online",
        "amount": "12.50",
        "currency": "EUR",
        "merchant_category": "books",
    }
    return json.dumps(made | changes).encode()


@dataclass(frozen=True)
class Record:
    """What is read back."""

    place: Coordinates
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes]]


def read(clients: Clients, topic: str) -> list[Record]:
    """Read a topic's two partitions whole."""
    consumer = Consumer({**clients.consumer, "group.id": "test"})
    found: list[Record] = []
    assigned = []
    left = 0
    for partition in (TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)):
        low, high = consumer.get_watermark_offsets(partition, timeout=10)
        assigned.append(TopicPartition(topic, partition.partition, low))
        left += high - low
    consumer.assign(assigned)
    while len(found) < left:
        record = consumer.poll(20)
        assert record is not None and record.error() is None
        place = Coordinates(topic, record.partition(), record.offset())
        stamp = record.timestamp()[1]
        headers = record.headers() or []
        found.append(Record(place, record.key(), record.value(), stamp, headers))
    consumer.close()
    return sorted(found, key=lambda record: record.place)
