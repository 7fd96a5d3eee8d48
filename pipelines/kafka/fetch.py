"""Records fetched again by their coordinates."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from verdict.operators.message import NO_TIMESTAMP
from verdict.pipelines.kafka.admin import ANSWER_S, connect
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.read import Reader

NEAR = 2_000
"""Offsets up to so far ahead are read on to, not sought."""
Headers = list[tuple[str, bytes | None]]


class Original(NamedTuple):
    """A record, fetched again."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


class RecordFetcher:
    """Fetches records by their coordinates; quick for those that lie close together.

    Parameters
    ----------
    settings
        Of the clients.
    """

    def __init__(self, settings: Clients) -> None:
        # Little in advance, for the next one wanted may lie elsewhere. Before it goes there, a
        # consumer waits for the answer to what it asked for last.
        ours = {"queued.max.messages.kbytes": 16_384, "fetch.wait.max.ms": 10}
        self._reader = Reader(settings, "verdict-dlq", ours=ours)
        self._topics = _partitions(settings)
        self._records: Iterator[Any] = iter(())
        self._next: Coordinates | None = None
        """Where the next of them lies, or before it; None where there is none."""
        self._ahead: Any = None
        """A record that was read too early."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()

    def fetch(self, place: Coordinates) -> Original | None:
        """Fetch one; None if its topic has it no more.

        Raises
        ------
        KafkaError
            The broker does not answer.
        """
        if place.partition >= self._topics.get(place.topic, 0):
            return None
        record = self._read_on(place) if self._is_near(place) else None
        # It lies elsewhere, or the end was here when an earlier one was sought.
        if record is None and self._seek(place):
            record = self._read_on(place)
        if record is None:
            self._next = None
            return None
        if record.offset() > place.offset:  # compacted away, or retention was faster
            self._ahead, self._next = record, place._replace(offset=record.offset())
            return None
        self._next = place._replace(offset=place.offset + 1)
        stamp = record.timestamp()[1] if record.timestamp()[0] else NO_TIMESTAMP
        headers = [(name, value) for name, value in record.headers() or []]
        return Original(record.key(), record.value(), stamp, headers)

    def _is_near(self, place: Coordinates) -> bool:
        if self._next is None or self._next[:2] != place[:2]:
            return False
        return self._next.offset <= place.offset <= self._next.offset + NEAR

    def _seek(self, place: Coordinates) -> bool:
        """Begin to read at a place; return False where its partition does not reach there."""
        self._ahead = None
        span = self._reader.span(place.topic, place.partition)
        if not span.first <= place.offset < span.end:
            return False
        wanted = {place.partition: span._replace(first=place.offset)}
        self._records = self._reader.read_between(place.topic, wanted)
        return True

    def _read_on(self, place: Coordinates) -> Any:
        """Return the first record at a place or behind it; None if the end comes before."""
        record, self._ahead = self._ahead or next(self._records, None), None
        while record is not None and record.offset() < place.offset:
            record = next(self._records, None)
        return record


def _partitions(settings: Clients) -> dict[str, int]:
    topics = connect(settings).list_topics(timeout=ANSWER_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}
