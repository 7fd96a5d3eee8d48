"""Up to where a Flink job has read: exactly, from a savepoint; about, from what it has committed.

A source commits its offsets to Kafka some time after a checkpoint, so those say at least how far it
is. What it goes on from lies in the savepoint.
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as ClientError

from verdict.pipelines.errors import FlinkError, KafkaError
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.read import watermarks

READERS = "SourceReaderState"
"""Name of a source operator's state: a list of what its readers go on from."""
SPLIT_VERSION = 0
"""Of the layout in which the Kafka connector writes a partition and its offset."""
TIMEOUT_S = 10.0
SAME = 1_000
"""So many offsets behind a partition's end it is read whether there are records at all: a
transaction's marker has an offset, and is none."""


def split(data: bytes, at: int) -> tuple[str, int]:
    """Read one element of a source's state: ``topic/partition`` and the next offset.

    Parameters
    ----------
    data
        The state of one subtask.
    at
        Where the element begins: length, version of the layout, length; topic, partition, where to
        start, where to stop.

    Raises
    ------
    FlinkError
        Another release of the connector has written it.

    Examples
    --------
    >>> body = struct.pack(">H6siqq", 6, b"events", 3, 41, -(2**63))
    >>> split(struct.pack(">iii", len(body) + 8, 0, len(body)) + body, 0)
    ('events/3', 41)
    """
    try:
        length, version, inner = struct.unpack_from(">iii", data, at)
        if version != SPLIT_VERSION or length != inner + 8:
            raise ValueError(f"layout {version}, {length} bytes for {inner}")
        (named,) = struct.unpack_from(">H", data, at + 12)
        if inner != 2 + named + 20:
            raise ValueError(f"{inner} bytes for a topic of {named}")
        topic = data[at + 14 : at + 14 + named].decode()
        partition, offset, _ = struct.unpack_from(">iqq", data, at + 14 + named)
    except (struct.error, ValueError) as error:
        raise FlinkError(
            f"a savepoint's offsets are not written as verdict knows it ({error}): install the "
            "Kafka connector that deploy/jars.txt pins"
        ) from None
    # Below 0 it has yet to be asked for: the earliest. Nothing was read.
    return f"{topic}/{partition}", max(offset, 0)


def read_up_to(savepoint: Path) -> dict[str, int]:
    """Return up to where the sources of a job had read: ``topic/partition`` -> next offset.

    PyFlink's JVM has to run: Flink's own classes read the savepoint.

    Raises
    ------
    FlinkError
        It cannot be read, or there are no offsets in it.
    """
    from py4j.protocol import Py4JError
    from pyflink.java_gateway import get_gateway

    found: dict[str, int] = {}
    try:
        jvm = get_gateway().jvm
        checkpoints = jvm.org.apache.flink.runtime.checkpoint.Checkpoints
        files = jvm.java.nio.file.Files
        path = jvm.java.io.File(str(savepoint / "_metadata")).toPath()
        stream = jvm.java.io.DataInputStream(
            files.newInputStream(path, get_gateway().new_array(jvm.java.nio.file.OpenOption, 0))
        )
        try:
            loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
            metadata = checkpoints.loadCheckpointMetadata(
                stream, loader, savepoint.absolute().as_uri()
            )
        finally:
            stream.close()
        listed = jvm.java.util.ArrayList
        for operator in listed(metadata.getOperatorStates()):
            for subtask in listed(operator.getStates()):
                for handle in listed(subtask.getManagedOperatorState()):
                    found |= _splits(handle)
    except Py4JError as error:
        raise FlinkError(
            f"{savepoint}: its offsets cannot be read: {str(error).splitlines()[-1]}", str(error)
        ) from None
    if not found:
        raise FlinkError(f"{savepoint}: there are no offsets of a Kafka source in it")
    return found


def _splits(handle: Any) -> dict[str, int]:
    states = handle.getStateNameToPartitionOffsets()
    if not states.containsKey(READERS):
        return {}
    stream = handle.openInputStream()
    try:
        data = bytes(stream.readAllBytes())
    finally:
        stream.close()
    return dict(split(data, at) for at in states.get(READERS).getOffsets())


class Committed:
    """How far a consumer group of Flink's is in some topics, as far as it has said so.

    Parameters
    ----------
    clients
        Settings of the clients.
    group
        The consumer group.
    partitions
        Topic -> how many partitions it has.

    Raises
    ------
    KafkaError
        The broker does not answer; so do the methods.
    """

    def __init__(self, clients: Clients, group: str, partitions: Mapping[str, int]) -> None:
        ours = {"group.id": group, "enable.partition.eof": True}
        self._consumer = Consumer({**clients.consumer, **ours})
        self._partitions = [
            TopicPartition(topic, number)
            for topic, count in partitions.items()
            for number in range(count)
        ]
        self._lows: dict[str, int] = {}
        self.records = 0
        """Offsets in the topics, when they were last asked for their ends."""
        self._empty: dict[str, tuple[int, int]] = {}
        """Partition -> from and to where it was looked, and no record found."""

    def ends(self) -> dict[str, int]:
        """Return where the partitions end now; those without records are left out."""
        found = {}
        for each in self._partitions:
            low, high = watermarks(self._consumer, each)
            if high > low:
                found[_name(each)] = high
                self._lows[_name(each)] = low
        self.records = sum(high - self._lows[place] for place, high in found.items())
        return found

    def rewind(self) -> None:
        """Let the group have read nothing: what it says from now on, a job of now has read."""
        places = [TopicPartition(each.topic, each.partition, 0) for each in self._partitions]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            raise KafkaError(f"setting offsets back: {error.args[0].str()}") from None

    def offsets(self) -> dict[str, int]:
        """Return the offsets up to which all is read, by partition."""
        try:
            answered = self._consumer.committed(self._partitions, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise KafkaError(f"asking for offsets: {error.args[0].str()}") from None
        return {_name(each): max(each.offset, self._lows.get(_name(each), 0)) for each in answered}

    def is_past(self, ends: Mapping[str, int]) -> bool:
        """Whether all records before some offsets are read."""
        at = self.offsets()
        return all(
            at.get(place, 0) >= end or self._nothing_between(place, at.get(place, 0), end)
            for place, end in ends.items()
        )

    def lag(self, ends: Mapping[str, int]) -> int:
        """Return how many offsets lie between what is read and some others."""
        at = self.offsets()
        return sum(max(0, end - at.get(place, 0)) for place, end in ends.items())

    def _nothing_between(self, place: str, start: int, end: int) -> bool:
        if end - start > SAME:
            return False
        if self._empty.get(place) == (start, end):
            return True
        topic, _, number = place.rpartition("/")
        self._consumer.assign([TopicPartition(topic, int(number), start)])
        try:
            record = self._consumer.poll(TIMEOUT_S)
        finally:
            self._consumer.unassign()
        if record is None:
            return False
        if record.error() is None:
            found = record.offset() >= end
        else:
            found = record.error().code() == ClientError._PARTITION_EOF
        if found:
            self._empty[place] = (start, end)
        return bool(found)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def behind(at: Mapping[str, int], ends: Mapping[str, int]) -> list[str]:
    """List the partitions in which one has read less than another.

    Examples
    --------
    >>> behind({"events/0": 5}, {"events/0": 5, "events/1": 0, "events/2": 4})
    ['events/2']
    """
    return [place for place, end in sorted(ends.items()) if at.get(place, 0) < end]


def of_topics(offsets: Mapping[str, int], topics: Sequence[str]) -> dict[str, int]:
    """Select the partitions of some topics.

    Examples
    --------
    >>> of_topics({"events/0": 5, "commands/0": 1}, ["events"])
    {'events/0': 5}
    """
    return {
        place: offset for place, offset in offsets.items() if place.rpartition("/")[0] in topics
    }


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"
