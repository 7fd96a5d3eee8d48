"""Reads an output stream's newest records, from its topic or its file, as plain values."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.spec.pipeline import Pipeline

POLL_S = 0.2
MARKERS = 100
"""Offsets before the wanted ones that are looked at, for the markers of transactions: Flink writes
one to a partition with each checkpoint."""


def newest(
    pipeline: Pipeline, stream: str, last: int, follow: bool, folder: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield the last records of a stream, then those that come if ``follow``.

    Parameters
    ----------
    pipeline
        Whose stream it is.
    stream
        Its logical name.
    last
        How many records from the end; of a topic, of each partition.
    follow
        Wait for more, for ever.
    folder
        Of the output files of a run from files; None reads the topic.

    Raises
    ------
    FileError
        There is no such file yet.
    KafkaError
        The broker does not answer, or has no such topic.
    """
    if folder is None:
        yield from _from_topic(pipeline, stream, last, follow)
        return
    path = folder / f"{pipeline.topics[stream]}.avro"
    if not path.exists():
        raise FileError(f"there is no {path}: run the pipeline first, or name its folder by --from")
    for record in deque(read_records(path), maxlen=last):
        yield plain(record)


def _from_topic(
    pipeline: Pipeline, stream: str, last: int, follow: bool
) -> Iterator[dict[str, Any]]:
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    from verdict.pipelines.kafka.admin import require
    from verdict.pipelines.kafka.clients import clients

    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[stream]
    partitions = require(settings, [topic])[topic]
    decode = output_decoder(pipeline, stream)
    # The newest at once, not up to a checkpoint later; after a crash some of them twice.
    ours = {"isolation.level": "read_uncommitted", "group.id": "verdict-tail"}
    consumer = Consumer({**settings.consumer, **ours, "enable.partition.eof": True})
    try:
        starts, ends = [], {}
        # What lies before the end of each partition: the markers of transactions have offsets, too.
        kept: dict[int, deque[bytes]] = {}
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            starts.append(TopicPartition(topic, partition, max(low, high - last - MARKERS)))
            if high > low:
                ends[partition], kept[partition] = high, deque(maxlen=last)
        consumer.assign(starts)
        while follow or ends:
            record = consumer.poll(POLL_S)
            if record is None:
                continue
            if record.error() is not None:
                # The last offset may be a transaction's marker, which is no record.
                if record.error().code() == KafkaError._PARTITION_EOF:
                    ends.pop(record.partition(), None)
                    for value in kept.pop(record.partition(), ()):
                        yield decode(value)
                continue
            if record.partition() not in kept:
                yield decode(record.value())
                continue
            kept[record.partition()].append(record.value())
            if record.offset() + 1 >= ends[record.partition()]:
                ends.pop(record.partition())
                for value in kept.pop(record.partition()):
                    yield decode(value)
    finally:
        consumer.close()


def output_decoder(pipeline: Pipeline, stream: str) -> Callable[[bytes], dict[str, Any]]:
    """Compile what reads an output stream's records as plain values, as ``verdict tail --json``.

    Parameters
    ----------
    pipeline
        Whose stream it is.
    stream
        Its logical name, such as ``decisions``.

    Examples
    --------
    >>> from verdict import load
    >>> from verdict.pipelines.formats.streams import stream_encoder
    >>> from verdict.pipelines.paths import resource
    >>> label = {"pipeline": "p", "event_id": "e", "event_time": 0, "keys": [], "positive": True}
    >>> value = stream_encoder("entity-labels")({**label, "known_at": 1_000, "source": "bank"})
    >>> decode = output_decoder(load(resource("init/pipeline.yaml")), "entity-labels")
    >>> decode(value)["known_at"]
    '1970-01-01T00:00:01.000Z'
    """
    decode = stream_decoder(stream, pipeline.spec.settings, logical=True)

    def read(value: bytes) -> dict[str, Any]:
        found: dict[str, Any] = plain(decode(value))
        return found

    return read


def plain(value: Any) -> Any:
    """Turn a record into what JSON knows: ISO 8601 times, decimals and bytes as text."""
    match value:
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Decimal():
            return format(value.normalize(), "f")
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case float() if value != value or value in (float("inf"), float("-inf")):
            return None
        case _:
            return value
