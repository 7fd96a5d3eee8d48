"""Knows every id and every expected decision, and counts what is lost, repeated or different."""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from events import encoded, event_number

from verdict.operators.message import Message
from verdict.operators.names import DECISIONS, EVENTS
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.rocks import RocksStore

ID_LENGTH = 12
COMMIT = 2_000


class Reader(threading.Thread):
    """Reads decisions as one kind of consumer sees them, whatever happens to the broker.

    Attributes
    ----------
    copies
        Of each event's decision, how many were read.
    marks
        CRC-32 of the first copy's bytes.
    arrived
        Seconds of the monotonic clock at which the first copy was read.
    differs
        Copies whose bytes were not those of the first.
    """

    def __init__(
        self, bootstrap: str, topic: str, pipeline: str, count: int, isolation: str
    ) -> None:
        super().__init__(daemon=True)
        self.copies = np.zeros(count, np.uint16)
        self.marks = np.zeros(count, np.uint32)
        self.arrived = np.zeros(count)
        self.differs = 0
        self.decided = 0
        self._stop_asked = threading.Event()
        # decision_id is 1 + 32 bytes, then the pipeline's name, then the event's id.
        self._at = 33 + 1 + len(pipeline) + 1
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"chaos-{isolation}",
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])

    def run(self) -> None:
        """Read until told to stop."""
        while not self._stop_asked.is_set():
            record = self._consumer.poll(0.2)
            if record is not None and record.error() is None:
                self._take(record.value())
        self._consumer.close()

    def _take(self, value: bytes) -> None:
        number = event_number(value[self._at : self._at + ID_LENGTH].decode())
        mark = crc32(value)
        if self.copies[number] == 0:
            self.marks[number] = mark
            self.arrived[number] = time.monotonic()
            self.decided += 1
        elif self.marks[number] != mark:
            self.differs += 1
        self.copies[number] += 1

    def stop(self) -> None:
        """End the thread."""
        self._stop_asked.set()
        self.join()


def expected(
    pipeline: Pipeline, count: int, progress: Callable[[int], object]
) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """Decide every event in its order, undisturbed; return the CRC-32 of each decision's bytes."""
    marks = np.zeros(count, np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        store = RocksStore(Path(folder))
        runner = Runner(score.score(pipeline), store)
        batch = []
        for offset, event in enumerate(encoded(count)):
            batch.append(Message(EVENTS, event.key, event.value, "chaos", 0, offset, -1))
            if len(batch) == COMMIT or offset == count - 1:
                for output in runner.many(batch):
                    if output.stream == DECISIONS:
                        marks[output.cause.offset] = crc32(output.value)
                store.commit({})
                batch = []
                progress(offset + 1)
        store.close()
    return marks
