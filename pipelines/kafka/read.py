"""Topics read back: from an offset or a time, up to where they end now, or on and on.

What is easily done wrong when a topic is read, and is done here:

- Not each offset is a record. A transaction's marker has one; so had what was compacted away, and
  for who reads committed what was aborted. The record before the end may never come, then: a
  partition is read out when the client says so (``_PARTITION_EOF``), or when a later record comes.
- Retention may move the beginning between the look and the reading. An offset that is gone means
  the first that is there: ``auto.offset.reset`` is ``earliest`` for every client.
- A time leads to the first offset that was written then or later. Where that is a marker's, which
  has the broker's time, records with earlier times of their producer may follow.
- Who reads uncommitted gets all that was ever written, be its transaction open or aborted: a hot
  consumer acted on it. Who reads committed has the end before the first open transaction.
- A broker that is away says nothing at all. Who waits for an end gives up; who follows waits.
- A poll with a timeout that asks for many records waits it out. So the first record is waited for,
  and what is there besides is taken without.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as Code

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.topology import Stop

UNCOMMITTED, COMMITTED = "read_uncommitted", "read_committed"
POLL_S = 0.2
"""How long to wait for a record before looking whether to stop."""
ANSWER_S = 10.0
"""How long a broker may take to say where a partition begins and ends."""
SILENT_S = 30.0
"""How long a broker that answered before may say nothing."""
FETCH_MOST = 1_000
"""Records that are taken at a time."""


class Span(NamedTuple):
    """Offsets of a partition: the first, and the one behind the last."""

    first: int
    end: int


class Reader:
    """Reads topics, without a part in a consumer group: nothing is committed.

    Parameters
    ----------
    clients
        Settings of the clients.
    group
        By what name the broker's logs and access lists know it.
    isolation
        `UNCOMMITTED` or `COMMITTED`; None leaves it to the pipeline.
    ours
        librdkafka's settings of this reader alone.
    """

    def __init__(
        self,
        clients: Clients,
        group: str,
        isolation: str | None = UNCOMMITTED,
        ours: Mapping[str, Any] | None = None,
    ) -> None:
        self._clients = clients
        settings: dict[str, Any] = {
            **clients.consumer,
            "group.id": group,
            "enable.partition.eof": True,
            # The end is told by an answer without records, with which a broker takes its time.
            "fetch.wait.max.ms": 50,
            # Who has enough in advance would pause for a second.
            "fetch.queue.backoff.ms": 10,
        }
        if isolation is not None:
            settings["isolation.level"] = isolation
        self._consumer = Consumer({**settings, **(ours or {})})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def span(self, topic: str, partition: int) -> Span:
        """Say what a partition has now.

        Raises
        ------
        KafkaError
            The broker does not answer.
        """
        return watermarks(self._consumer, TopicPartition(topic, partition))

    def spans(self, topic: str, since: int | None = None) -> dict[int, Span]:
        """Say what each partition of a topic has now.

        Parameters
        ----------
        topic
            Its name.
        since
            Milliseconds since the epoch: begin where something was written then or later. Where
            nothing was, that is the end.

        Raises
        ------
        KafkaError
            The broker does not answer, or has no such topic.
        """
        partitions = range(require(self._clients, [topic])[topic])
        found = {number: self.span(topic, number) for number in partitions}
        if since is None:
            return found
        asked = [TopicPartition(topic, number, since) for number in partitions]
        try:
            starts = self._consumer.offsets_for_times(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise KafkaError(f"{topic}: {error.args[0].str()}") from None
        return {
            start.partition: found[start.partition]._replace(first=start.offset)
            if start.offset >= 0
            else Span(found[start.partition].end, found[start.partition].end)
            for start in starts
        }

    def read(
        self,
        topic: str,
        *,
        since: int | None = None,
        follow: bool = False,
        stop: Stop | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Any]:
        """Read a topic whole, in each partition's order.

        Parameters
        ----------
        topic
            Its name.
        since
            Milliseconds since the epoch; records written before it are left out.
        follow
            Go on when the end is reached, for ever.
        stop
            Ends it.
        progress
            Told how many records were read, and of how many offsets.

        Raises
        ------
        KafkaError
            The broker does not answer, or has no such topic.
        """
        spans = self.spans(topic, since)
        records = self.read_between(topic, spans, follow=follow, stop=stop, progress=progress)
        if since is None:
            return records
        return (record for record in records if record.timestamp()[1] >= since)

    def read_between(
        self,
        topic: str,
        spans: Mapping[int, Span],
        *,
        follow: bool = False,
        stop: Stop | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Any]:
        """Read the records at some offsets, as `read` does; one of these at a time.

        Parameters
        ----------
        spans
            Partition -> what to read of it; who follows begins there, and has no end.
        """
        left = {number: span.end for number, span in spans.items() if span.first < span.end}
        total = sum(end - spans[number].first for number, end in left.items())
        self._consumer.assign(
            [
                TopicPartition(topic, number, span.first)
                for number, span in spans.items()
                if follow or number in left
            ]
        )
        heard, done = time.monotonic(), 0
        while (left or follow) and not (stop is not None and stop.is_set()):
            one = self._consumer.poll(POLL_S)
            if one is None:
                if not follow and time.monotonic() - heard > SILENT_S:
                    raise KafkaError(
                        f"reading {topic}: the broker says nothing for {SILENT_S:g} s; try again"
                    )
                continue
            for record in (one, *self._consumer.consume(FETCH_MOST, 0)):
                failure = record.error()
                if failure is not None:
                    if failure.code() == Code._PARTITION_EOF:
                        left.pop(record.partition(), None)
                    elif not (follow and failure.retriable()):
                        raise KafkaError(f"reading {topic}: {failure.str()}")
                    continue
                if not follow:
                    end = left.get(record.partition(), 0)
                    if record.offset() + 1 >= end:
                        left.pop(record.partition(), None)
                    if record.offset() >= end:
                        continue  # came after we began
                done += 1
                yield record
            heard = time.monotonic()  # not before the caller had done with them
            if progress is not None:
                progress(done, total)


def watermarks(consumer: Any, partition: TopicPartition) -> Span:
    """Ask for a partition's first offset and the one behind its last.

    Raises
    ------
    KafkaError
        The broker does not answer.
    """
    try:
        return Span(*consumer.get_watermark_offsets(partition, timeout=ANSWER_S))
    except KafkaException as error:
        raise KafkaError(f"{partition.topic}: {error.args[0].str()}") from None
