"""Topics read back from a real broker: what has an offset and is no record, where they end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.pipelines.kafka.kafka_topic import DEADLINE_S, NOW, Topic
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka import read as module
from verdict.pipelines.kafka.read import COMMITTED, UNCOMMITTED, Reader, Span, watermarks
from verdict.pipelines.local.broker import LocalKafka

FORWARD_MS = 3_600_000


@pytest.fixture
def topic(kafka: LocalKafka) -> Callable[..., Topic]:
    return lambda name, **more: Topic(kafka, f"read-{name}", **more)


class Tidying(LocalKafka):
    """A broker that compacts at once, and that a test may halt."""

    def _configure(self) -> None:
        super()._configure()
        file = self.folder / "kraft.properties"
        file.write_text(f"{file.read_text()}\nlog.cleaner.backoff.ms=50\n")


@pytest.fixture(scope="module")
def tidying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tidying]:
    with Tidying(tmp_path_factory.mktemp("tidying")) as broker:
        yield broker


def numbers(*ranges: range) -> list[bytes]:
    return [b"%d" % number for number in chain(*ranges)]


def test_partitions_are_read_whole_each_in_its_order(topic: Callable[..., Topic]) -> None:
    made = topic("several", partitions=3)
    for partition in (0, 2):
        made.write((b"%d/%d" % (partition, n) for n in range(2_000)), partition)
    told: list[tuple[int, int]] = []
    found = made.read(progress=lambda done, of: told.append((done, of)))
    for partition in (0, 2):
        prefix = b"%d/" % partition
        assert [value for value in found if value.startswith(prefix)] == [
            b"%d/%d" % (partition, n) for n in range(2_000)
        ]
    assert len(found) == 4_000
    assert told[-1] == (4_000, 4_000)
    assert told == sorted(told)


def test_nothing_is_read_of_what_is_empty(topic: Callable[..., Topic]) -> None:
    made = topic("empty", partitions=2)
    assert made.spans() == {0: Span(0, 0), 1: Span(0, 0)}
    assert made.read() == []
    made.write([b"one"], partition=1)
    assert made.read() == [b"one"]


@pytest.mark.parametrize("isolation", [UNCOMMITTED, COMMITTED])
def test_a_topic_ends_behind_a_transactions_marker(
    topic: Callable[..., Topic], isolation: str
) -> None:
    made = topic(f"marker-{isolation}", partitions=2)
    made.transaction(numbers(range(3)))
    assert made.spans()[0] == Span(0, 4)
    assert made.read(isolation) == numbers(range(3))


def test_what_was_taken_back_is_for_uncommitted_readers(topic: Callable[..., Topic]) -> None:
    made = topic("aborted")
    made.transaction(numbers(range(3)))
    made.transaction(numbers(range(3, 6)), "abort")
    made.transaction(numbers(range(6, 8)))
    made.transaction(numbers(range(8, 9)), "abort")
    assert made.read() == numbers(range(9))
    assert made.read(COMMITTED) == numbers(range(3), range(6, 8))


def test_an_open_transaction_is_the_end_for_committed_readers(
    topic: Callable[..., Topic],
) -> None:
    made = topic("open")
    made.write(numbers(range(3)))
    made.transaction(numbers(range(3, 6)), "leave open")
    made.write(numbers(range(6, 8)))
    assert made.read() == numbers(range(8))
    assert made.read(COMMITTED) == numbers(range(3))
    made.open.abort_transaction(20)
    made.until_marked(8)
    assert made.read(COMMITTED) == numbers(range(3), range(6, 8))


def test_what_was_compacted_away_is_not_waited_for(tidying: Tidying) -> None:
    at_once = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.bytes": "1048576",
        "delete.retention.ms": "0",
        "max.compaction.lag.ms": "1",
    }
    made = Topic(tidying, "read-compacted", config=at_once)
    made.write([b"x" * 100_000] * 12, key=b"often")
    made.write([None], key=b"deleted")
    made.write([b"x" * 100_000] * 12, key=b"often")
    made.write([b"last"], key=b"often")
    until = time.monotonic() + DEADLINE_S
    while len(found := made.read()) > 20:
        assert time.monotonic() < until, "the broker does not compact"
    assert found[-1] == b"last"
    assert made.spans() == {0: Span(0, 26)}


def test_what_comes_after_the_look_is_not_read(topic: Callable[..., Topic]) -> None:
    made = topic("later", partitions=2)
    made.transaction(numbers(range(3)))
    there = made.spans()
    made.write(numbers(range(3, 6)))
    made.write(numbers(range(6, 9)), partition=1)
    assert made.read_between(there) == numbers(range(3))
    assert made.read_between({0: Span(1, 2)}) == [b"1"]
    assert made.read_between({0: Span(3, 4)}) == []  # a marker, and records behind it


def test_following_goes_on_behind_the_end_until_told_to_stop(topic: Callable[..., Topic]) -> None:
    made, stop = topic("follow", partitions=2), threading.Event()
    made.transaction(numbers(range(2)))
    with Reader(made.clients, "test") as reader:
        records = reader.read(made.name, follow=True, stop=stop)
        assert [next(records).value() for _ in range(2)] == numbers(range(2))
        for partition in (0, 1):
            made.write([b"later"], partition)
            assert next(records).value() == b"later"
        stop.set()
        assert next(records, None) is None
        assert next(reader.read(made.name, stop=stop), None) is None


def test_following_from_the_end_misses_nothing(topic: Callable[..., Topic]) -> None:
    made = topic("behind")
    made.write([b"before"])
    with Reader(made.clients, "test") as reader:
        behind = {number: Span(end, end) for number, (_, end) in reader.spans(made.name).items()}
        made.write([b"between"])
        records = reader.read_between(made.name, behind, follow=True)
        assert next(records).value() == b"between"


def test_a_time_leaves_out_what_was_written_before(topic: Callable[..., Topic]) -> None:
    made = topic("since", partitions=3)
    made.write(numbers(range(3)), at=NOW)
    made.write(numbers(range(3, 6)), at=NOW + 1_000)
    made.write(numbers(range(6, 8)), partition=1, at=NOW)
    assert sorted(made.read(since=NOW)) == numbers(range(8))
    assert made.read(since=NOW + 1) == numbers(range(3, 6))
    assert made.read(since=NOW + 1_000) == numbers(range(3, 6))
    assert made.read(since=NOW + 1_001) == []
    # A marker has the time of the broker, and what comes behind it may be older.
    made.transaction(numbers(range(8, 9)), partition=2, at=1_000)
    made.transaction(numbers(range(9, 10)), partition=2, at=1_001)
    assert sorted(made.read(since=1_001)) == numbers(range(8), range(9, 10))
    assert sorted(made.read(since=2_000)) == numbers(range(8))


def test_a_time_to_come_is_the_end(topic: Callable[..., Topic]) -> None:
    made, stop = topic("future", partitions=2), threading.Event()
    now = time.time_ns() // 1_000_000
    made.write(numbers(range(3)), at=now)
    assert made.read(since=now + FORWARD_MS) == []
    with Reader(made.clients, "test") as reader:
        records = reader.read(made.name, since=now + FORWARD_MS, follow=True, stop=stop)
        made.write([b"early"], at=now)
        made.write([b"in time"], at=now + FORWARD_MS)
        assert next(records).value() == b"in time"


def test_a_beginning_that_retention_removed(topic: Callable[..., Topic]) -> None:
    made = topic("removed")
    made.write(numbers(range(10)))
    before = made.spans()
    made.forget(4)
    assert made.spans() == {0: Span(4, 10)}
    assert made.read() == numbers(range(4, 10))
    assert made.read(since=NOW) == numbers(range(4, 10))
    # While it was looked up, and then read.
    assert made.read_between(before) == numbers(range(4, 10))
    made.forget(10)
    assert made.read_between(before) == []
    assert made.read() == []
    made.write([b"new"])
    assert made.read_between(before) == []
    assert made.read() == [b"new"]


def test_one_reader_reads_one_topic_after_another(topic: Callable[..., Topic]) -> None:
    one, other = topic("one"), topic("other")
    one.write(numbers(range(3_000)))
    other.write([b"other"])
    with Reader(one.clients, "test") as reader:
        left_early = reader.read(one.name)
        assert next(left_early).value() == b"0"
        assert [record.value() for record in reader.read(other.name)] == [b"other"]
        assert [record.value() for record in reader.read(one.name)] == numbers(range(3_000))


def test_a_topic_that_is_not_there(topic: Callable[..., Topic]) -> None:
    made = topic("there")
    with (
        Reader(made.clients, "test") as reader,
        pytest.raises(
            KafkaError, match=r"topic 'read-nowhere' does not exist at .*'verdict topics"
        ),
    ):
        reader.read("read-nowhere")


def test_a_broker_that_falls_silent_is_given_up(
    tidying: Tidying, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Topic(tidying, "read-silent")
    made.write([b"x" * 500_000] * 60)
    # Little in advance, so that the broker has something left when it goes.
    with Reader(made.clients, "test", ours={"queued.max.messages.kbytes": 1_000}) as reader:
        records = reader.read(made.name)
        next(records)
        monkeypatch.setattr(module, "SILENT_S", 1.0)
        monkeypatch.setattr(module, "ANSWER_S", 1.0)
        os.kill(tidying.pid, signal.SIGSTOP)
        try:
            with pytest.raises(KafkaError) as refused:
                list(records)
            assert str(refused.value) == (
                "reading read-silent: the broker says nothing for 1 s; try again"
            )
            with pytest.raises(KafkaError, match=r"^read-silent: "):
                reader.span(made.name, 0)
        finally:
            os.kill(tidying.pid, signal.SIGCONT)
        monkeypatch.undo()
        assert len(list(reader.read(made.name))) == 60


def test_watermarks_of_any_consumer(topic: Callable[..., Topic]) -> None:
    made = topic("watermarks")
    made.write(numbers(range(5)))
    made.forget(2)
    consumer = Consumer({**made.clients.consumer, "group.id": "test"})
    assert watermarks(consumer, TopicPartition(made.name, 0)) == Span(2, 5)
    consumer.close()
