"""Batches of a topic: sent, acknowledged, committed, in this order."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.pipelines.engines.embedded.test_runner import COUNT_JOB
from verdict.operators.message import Message
from verdict.operators.names import EVENTS
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import KafkaError


class Topic:
    """A topic in memory, and what was sent; acknowledged by `flush`, which may fail."""

    def __init__(self, count: int, sent: list[OutputRecord], fail_at: int = -1) -> None:
        self.records = [Message(EVENTS, None, b"%d" % n, "t", 0, n, 0) for n in range(count)]
        self.sent = sent
        self.fail_at = fail_at
        self.next = 0
        self.polled: list[int] = []
        self.closed = False

    def __call__(self, offsets: Mapping[str, int]) -> "Topic":
        self.next = offsets.get("t/0", 0)
        return self

    def poll(self, most: int, timeout: float) -> list[Message]:
        batch = self.records[self.next : self.next + min(most, 4)]
        self.next += len(batch)
        self.polled.append(len(batch))
        return batch

    def send(self, output: OutputRecord) -> None:
        self.sent.append(output)

    def flush(self) -> None:
        if len(self.polled) == self.fail_at:
            raise KafkaError("an output was not acknowledged")

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        return offsets.get("t/0", 0) >= len(self.records)

    def close(self) -> None:
        self.closed = True


def test_nothing_is_committed_before_it_is_acknowledged(tmp_path: Path) -> None:
    sent: list[OutputRecord] = []
    topic = Topic(10, sent, fail_at=2)
    with pytest.raises(KafkaError, match="not acknowledged"):
        run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True, commit_s=0)
    assert topic.closed
    lost = len(sent)
    again = Topic(10, sent)
    assert run_kafka(COUNT_JOB, again, tmp_path, stop=threading.Event(), bounded=True) == 6
    repeats = sent[lost : lost + 8]
    assert [(o.key, o.value, o.cause.offset) for o in sent[lost - 8 : lost]] == [
        (o.key, o.value, o.cause.offset) for o in repeats
    ]
    values = {output.value for output in sent}
    assert values == {b"%d %d" % (n, n + 1) for n in range(10)}


def test_a_bounded_run_with_nothing_new_ends_at_once(tmp_path: Path) -> None:
    for wanted in (3, 0):
        topic = Topic(3, [])
        read = run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True)
        assert read == wanted
    assert topic.polled == []


def test_a_run_that_is_asked_to_stop_ends_after_its_batch(tmp_path: Path) -> None:
    stop = threading.Event()
    topic = Topic(10, [])
    topic.flush = stop.set  # type: ignore[method-assign]
    assert run_kafka(COUNT_JOB, topic, tmp_path, stop=stop, commit_s=0) == 8
    assert topic.closed


def test_batches_are_committed_together_until_it_is_time(tmp_path: Path) -> None:
    topic, flushed = Topic(10, []), []
    topic.flush = lambda: flushed.append(topic.next)  # type: ignore[method-assign]
    run_kafka(COUNT_JOB, topic, tmp_path, stop=threading.Event(), bounded=True, commit_s=60)
    assert flushed == [10]
