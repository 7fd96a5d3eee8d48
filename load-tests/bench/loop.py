"""The peer that has no framework: confluent-kafka, RocksDB and ONNX Runtime in one loop.

    python loop.py --bootstrap HOST:PORT --events TOPIC --decisions TOPIC --state FOLDER [--batched]

Events come in batches. Once a second, or when it has caught up, decisions are flushed, then state
and the next offset are written in one WriteBatch: state exactly once, decisions at least once, as
verdict's embedded engine. ``--batched`` scores each batch of events by one call of the model.
"""

import argparse
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition
from handmade import Model, decision, features, schema
from rocksdict import Options, Rdict, WriteBatch

BATCH = 500
COMMIT_S = 1.0
OFFSET = b"offset"
"""No customer's key: these begin with ``c``."""

Decided = tuple[bytes, dict[str, Any]]


class Store:
    """Customers' payments in RocksDB; what was written since the last commit is in memory."""

    def __init__(self, folder: str) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._db = Rdict(folder, options)
        self._dirty: dict[bytes, bytes] = {}
        self.offset = int(self._db.get(OFFSET) or b"0")

    def get(self, key: bytes) -> bytes | None:
        """Return a customer's state."""
        return self._dirty.get(key) or self._db.get(key)

    def put(self, key: bytes, packed: bytes) -> None:
        """Write a customer's state at the next commit."""
        self._dirty[key] = packed

    def commit(self) -> None:
        """Write everything at once."""
        batch = WriteBatch(raw_mode=True)
        for key, packed in self._dirty.items():
            batch.put(key, packed)
        batch.put(OFFSET, b"%d" % self.offset)
        self._db.write(batch)
        self._dirty.clear()

    def close(self) -> None:
        """Let go of the folder."""
        self._db.close()


class Work:
    """From records to decisions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._model = Model()
        self._schema = schema("payment.avsc")

    def one(self, record: Any) -> tuple[dict[str, Any], list[float]]:
        """Decode an event and compute its features."""
        event = fastavro.schemaless_reader(BytesIO(record.value()), self._schema, None)
        key = record.key()
        row, packed = features(event, self._store.get(key))
        self._store.put(key, packed)
        return event, row

    def each(self, records: Sequence[Any]) -> Iterable[Decided]:
        """Decide one event after the other."""
        for record in records:
            event, row = self.one(record)
            [score] = self._model([row])
            yield record.key(), decision(event, row, score)

    def together(self, records: Sequence[Any]) -> Iterable[Decided]:
        """Decide a batch, scored by one call."""
        made = [self.one(record) for record in records]
        scores = self._model([row for _, row in made])
        for record, (event, row), score in zip(records, made, scores, strict=True):
            yield record.key(), decision(event, row, score)


def poll(consumer: Consumer) -> list[Any]:
    """Wait for a record, and return it with those that are there already."""
    first = consumer.poll(0.1)
    # consume() with a timeout would wait for the batch to be full.
    records = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
    for record in records:
        if record.error() is not None:
            raise SystemExit(str(record.error()))
    return records


def run(asked: argparse.Namespace, stop: threading.Event) -> None:
    """Decide until told to stop."""
    store = Store(asked.state)
    work = Work(store)
    decide = work.together if asked.batched else work.each
    decisions = schema("decision.avsc")
    consumer = Consumer(
        {
            "bootstrap.servers": asked.bootstrap,
            "group.id": "loop",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(asked.events, 0, store.offset)])
    producer = Producer(
        {
            "bootstrap.servers": asked.bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
        }
    )
    failed: list[str] = []

    def delivered(error: Any, _record: Any) -> None:
        if error is not None:
            failed.append(str(error))

    committed = time.monotonic()
    while not stop.is_set():
        records = poll(consumer)
        for key, made in decide(records) if records else ():
            body = BytesIO()
            fastavro.schemaless_writer(body, decisions, made)
            while True:
                try:
                    producer.produce(asked.decisions, body.getvalue(), key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
        if records:
            store.offset = records[-1].offset() + 1
        caught_up = 0 < len(records) < BATCH
        if caught_up or time.monotonic() - committed > COMMIT_S:
            if producer.flush(60) or failed:
                raise SystemExit(f"decisions were not acknowledged: {failed[:1]}")
            store.commit()
            committed = time.monotonic()
    consumer.close()
    store.close()


def main() -> None:
    """Read the arguments and run until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("--decisions", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--batched", action="store_true")
    asked = parser.parse_args()
    Path(asked.state).mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(asked, stop)


if __name__ == "__main__":
    main()
