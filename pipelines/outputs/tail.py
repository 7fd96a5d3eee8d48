"""Reads an output stream's newest records, from its topic or its file, as plain values."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from verdict.operators.names import Stream
from verdict.pipelines.errors import FileError, SpecError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.spec.pipeline import Pipeline

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
    SpecError
        The pipeline does not have this stream.
    FileError
        There is no such file yet.
    KafkaError
        The broker does not answer, or has no such topic.
    """
    if stream not in pipeline.topics:
        raise SpecError(
            [
                f"{pipeline.path}: the pipeline puts out no {stream}; name one of "
                f"{', '.join(each for each in Stream if each in pipeline.topics)}"
            ]
        )
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
    from verdict.pipelines.kafka.clients import clients
    from verdict.pipelines.kafka.read import Reader, Span

    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[stream]
    decode = output_decoder(pipeline, stream)
    # The newest at once, not up to a checkpoint later; after a crash some of them twice.
    with Reader(settings, "verdict-tail") as reader:
        there = reader.spans(topic)
        near = {
            number: Span(max(span.first, span.end - last - MARKERS), span.end)
            for number, span in there.items()
        }
        kept: dict[int, deque[bytes]] = {number: deque(maxlen=last) for number in there}
        for record in reader.read_between(topic, near):
            kept[record.partition()].append(record.value())
        for values in kept.values():
            for value in values:
                yield decode(value)
        if follow:
            on = {number: Span(span.end, span.end) for number, span in there.items()}
            for record in reader.read_between(topic, on, follow=True):
                yield decode(record.value())


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
