"""Kafka as the embedded engine sees it: records in at known offsets, records out, acknowledged."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import KafkaError as ClientError

from verdict.operators.message import Headers, Message, new
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.read import watermarks
from verdict.pipelines.topology import MAX_CARRIED, SOURCE_HEADER

FLUSH_S = 60.0
"""How long outputs may stay unacknowledged before the run gives up; the client retries."""


class KafkaBroker:
    """Reads a job's input topics from known offsets and writes its output topics.

    The partitions are assigned, not subscribed to: the engine keeps the offsets in its own store,
    and its folder's lock keeps a second process out.

    Streams that are to come first do: all that is in their topics when the broker is opened before
    the first record of another stream, and later those of a batch before its others.

    Parameters
    ----------
    clients
        Settings of the clients.
    inputs, outputs
        Stream -> topic.
    offsets
        ``topic/partition`` -> next offset; partitions that are not named start at their beginning.
    carry, first
        Of the `Job`.

    Raises
    ------
    KafkaError
        The broker does not answer, or a topic is missing.
    """

    def __init__(
        self,
        clients: Clients,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        offsets: Mapping[str, int],
        carry: Sequence[str] = (),
        first: Sequence[str] = (),
    ) -> None:
        partitions = require(clients, [*inputs.values(), *outputs.values()])
        self._streams = {topic: stream for stream, topic in inputs.items()}
        self._outputs = outputs
        self._carry = tuple(carry)
        self._failure: ClientError | None = None
        # A call of Python's for each record that arrived would cost as much as to send one.
        sparing = {"delivery.report.only.error": True, "on_delivery": self._delivered}
        self._producer = Producer({**clients.producer, **sparing})
        # Offsets alone do not tell where a topic ends: a transaction's marker has one, too.
        ours = {"group.id": "verdict-embedded", "enable.partition.eof": True}
        self._consumer = Consumer({**clients.consumer, **ours})
        self._assigned = [
            TopicPartition(topic, partition, offsets.get(_name(topic, partition), OFFSET_BEGINNING))
            for topic in inputs.values()
            for partition in range(partitions[topic])
        ]
        self._ends: dict[str, int] = {}
        self._read_out: dict[str, int] = {}
        """Partition -> where it ended when it was read to its end: past a transaction's marker."""
        self._settled: dict[str, int] = {}
        """The same of those whose records the engine has decided."""
        self._heard: dict[TopicPartition, tuple[int, int]] = {}
        """Partition -> its first and next offset, as the client heard last."""
        self._check(offsets)
        self._first = frozenset(first)
        self._unread = self._first_until(offsets)
        """Partition that comes first -> where it ended at the start, until it is read so far."""
        self._held = [each for each in self._assigned if not self._is_first(each.topic)]
        self._consumer.assign(self._assigned)
        if self._unread:
            self._consumer.pause(self._held)

    def _check(self, offsets: Mapping[str, int]) -> None:
        """Refuse offsets that the topics do not have: librdkafka would begin again unasked."""
        for assigned in self._assigned:
            known = offsets.get(_name(assigned.topic, assigned.partition), 0)
            if known and (end := watermarks(self._consumer, assigned)[1]) < known:
                raise KafkaError(
                    f"topic '{assigned.topic}' ends at offset {end}, the state has read it up to "
                    f"{known}: the topic was made anew; start anew with an empty state folder"
                )

    def _first_until(self, offsets: Mapping[str, int]) -> dict[str, int]:
        """Return where the partitions end that come first, if there is anything to read."""
        found = {}
        for assigned in self._assigned:
            if self._is_first(assigned.topic):
                name = _name(assigned.topic, assigned.partition)
                low, high = watermarks(self._consumer, assigned)
                if high > max(low, offsets.get(name, 0)):
                    found[name] = high
        return found

    def _is_first(self, topic: str) -> bool:
        return self._streams[topic] in self._first

    def poll(self, most: int, timeout: float) -> list[Message]:
        """Return the records that wait, in each partition's order; wait for the first of them."""
        self._settled = dict(self._read_out)
        first = self._consumer.poll(timeout)
        self._listen()
        if first is None:
            return []
        records = [first, *self._consumer.consume(most - 1, 0)]  # a timeout would be waited out
        messages = [self._message(record) for record in records if self._is_record(record)]
        if self._first:
            messages.sort(key=lambda message: message.stream not in self._first)
            if self._unread:
                self._let_go(messages)
        return messages

    def _let_go(self, messages: Sequence[Message]) -> None:
        """Let the others come once all have that were there before them."""
        for message in messages:
            name = _name(message.topic, message.partition)
            if name in self._unread and message.offset + 1 >= self._unread[name]:
                del self._unread[name]
        for name in self._unread.keys() & self._read_out.keys():
            del self._unread[name]  # it ended with a transaction's marker
        if not self._unread:
            self._consumer.resume(self._held)

    def _listen(self) -> None:
        """Note how far the partitions reach, for other threads.

        They cannot ask the client themselves: while one thread polls it again and again, another
        waits for it without end (seen with confluent-kafka 2.16).
        """
        for assigned in self._assigned:
            heard = self._consumer.get_watermark_offsets(assigned, cached=True)
            if heard is not None and heard[1] >= 0:
                self._heard[assigned] = heard

    def _is_record(self, record: Any) -> bool:
        error = record.error()
        if error is None:
            return True
        if error.code() != ClientError._PARTITION_EOF:
            raise KafkaError(f"reading {record.topic()}: {error.str()}")
        self._read_out[_name(record.topic(), record.partition())] = record.offset()
        return False

    def _message(self, record: Any) -> Message:
        topic = record.topic()
        return new(
            Message,
            (
                self._streams[topic],
                record.key(),
                record.value(),
                topic,
                record.partition(),
                record.offset(),
                record.timestamp()[1],
                self._carried(record) if self._carry else (),
            ),
        )

    def _carried(self, record: Any) -> Headers:
        """Select the headers to carry, in the order of their names; the last of a name counts."""
        headers = record.headers()
        if headers is None:
            return ()
        given = dict(headers)
        found = [(name, given[name]) for name in self._carry if given.get(name) is not None]
        if sum([len(value) for _, value in found]) > MAX_CARRIED:
            return ()
        return tuple(found)

    def send(self, output: OutputRecord) -> None:
        """Hand a record to the producer; `flush` says whether it arrived."""
        cause = output.cause
        source = f"{cause.topic}/{cause.partition}/{cause.offset}".encode()
        topic = self._outputs[output.stream]
        while True:
            try:
                self._producer.produce(
                    topic,
                    key=output.key,
                    value=output.value,
                    headers=[(SOURCE_HEADER, source), *cause.carried],
                )
                return
            except BufferError:  # the producer's queue is full: wait for acknowledgements
                self._producer.poll(0.1)
            except KafkaException as error:  # larger than message.max.bytes
                raise KafkaError(f"writing {topic}: {error.args[0].str()}") from None

    def _delivered(self, error: ClientError | None, _record: Any) -> None:
        if error is not None:
            self._failure = error

    def flush(self) -> None:
        """Wait until everything sent is acknowledged.

        Raises
        ------
        KafkaError
            Something was not; nothing is committed, so a restart repeats it.
        """
        left = self._producer.flush(FLUSH_S)
        if self._failure is not None:
            raise KafkaError(f"an output was not acknowledged: {self._failure.str()}")
        if left:
            raise KafkaError(f"{left} outputs were not acknowledged within {FLUSH_S:g} s")

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        """Whether everything that was in the topics at the first call has been read."""
        if not self._ends:
            for assigned in self._assigned:
                low, high = watermarks(self._consumer, assigned)
                if high > low:
                    self._ends[_name(assigned.topic, assigned.partition)] = high
        return all(
            partition in self._read_out or offsets.get(partition, 0) >= end
            for partition, end in self._ends.items()
        )

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return how many records of each partition lie past an offset, without asking the broker.

        The client knows it from the last records it fetched, as of the last `poll`; a partition of
        which it has heard nothing yet is left out. May be called from any thread.
        """
        found = {}
        for assigned, (low, high) in list(self._heard.items()):
            name = _name(assigned.topic, assigned.partition)
            at = max(low, offsets.get(name, 0), self._settled.get(name, 0))
            found[assigned.topic, assigned.partition] = max(0, high - at)
        return found

    def close(self) -> None:
        """Leave the broker."""
        self._heard.clear()
        self._consumer.close()


def _name(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"
