"""Records fetched again by their coordinates, from a real broker."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from tests.pipelines.kafka.kafka_topic import NOW, Topic
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.fetch import NEAR, Original, RecordFetcher
from verdict.pipelines.local.broker import LocalKafka


@pytest.fixture
def topic(kafka: LocalKafka) -> Callable[..., Topic]:
    return lambda name, **more: Topic(kafka, f"fetch-{name}", **more)


def value(originals: RecordFetcher, made: Topic, offset: int, partition: int = 0) -> bytes | None:
    found = originals.fetch(Coordinates(made.name, partition, offset))
    return None if found is None else found.value


def test_a_record_is_fetched_with_all_that_it_has(topic: Callable[..., Topic]) -> None:
    made = topic("whole")
    producer = Producer(made.clients.producer)
    headers: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", None)]
    producer.produce(made.name, b"v", b"k", headers=headers, timestamp=NOW)
    producer.produce(made.name, None, timestamp=NOW + 1)
    assert producer.flush(20) == 0
    with RecordFetcher(made.clients) as originals:
        place = Coordinates(made.name, 0, 0)
        assert originals.fetch(place) == Original(b"k", b"v", NOW, headers)
        assert originals.fetch(place._replace(offset=1)) == Original(None, None, NOW + 1, [])


def test_near_and_far_forth_and_back(topic: Callable[..., Topic]) -> None:
    made, count = topic("order", partitions=2), 2 * NEAR
    for partition in (0, 1):
        made.write((b"%d/%d" % (partition, n) for n in range(count)), partition)
    far = (count - 1, NEAR + 1, NEAR, 0, NEAR, 2 * NEAR - 1)
    with RecordFetcher(made.clients) as originals:
        for offset in (3, 3, 4, 9, 8, 7, *far):
            for partition in (0, 1):
                assert value(originals, made, offset, partition) == b"%d/%d" % (partition, offset)
        for offset in (5, 6, 6, 5, *far):
            assert value(originals, made, offset) == b"0/%d" % offset


def test_what_is_not_there(topic: Callable[..., Topic]) -> None:
    made = topic("gone")
    made.write(b"%d" % number for number in range(6))
    made.forget(2)
    with RecordFetcher(made.clients) as originals:
        assert [value(originals, made, n) for n in (1, 2, 0, 5, 6, 99)] == [
            None, b"2", None, b"5", None, None
        ]  # fmt: skip
        assert value(originals, made, 3, partition=1) is None
        assert originals.fetch(Coordinates("fetch-nowhere", 0, 0)) is None
        assert value(originals, made, 4) == b"4"


def test_the_end_moves_on(topic: Callable[..., Topic]) -> None:
    made = topic("later")
    made.write([b"0"])
    with RecordFetcher(made.clients) as originals:
        assert value(originals, made, 0) == b"0"
        assert value(originals, made, 1) is None
        made.write([b"1", b"2", b"3"])
        assert value(originals, made, 1) == b"1"
        assert value(originals, made, 3) == b"3"


def test_transactions_are_fetched_whatever_became_of_them(topic: Callable[..., Topic]) -> None:
    made = topic("transactions")
    made.transaction([b"0", b"1"], "abort")
    made.transaction([b"3"])
    made.transaction([b"5"], "leave open")
    with RecordFetcher(made.clients) as originals:
        found = [value(originals, made, offset) for offset in range(7)]
        assert found == [b"0", b"1", None, b"3", None, b"5", None]
        assert value(originals, made, 2) is None  # a marker: the record behind it is read ahead
        assert value(originals, made, 3) == b"3"
        assert value(originals, made, 4) is None
    made.open.abort_transaction(20)
    made.until_marked(6)
    with RecordFetcher(made.clients) as originals:
        assert value(originals, made, 6) is None  # a marker, behind which there is nothing
        assert value(originals, made, 5) == b"5"
