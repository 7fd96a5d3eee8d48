"""Where a replay reads decisions, events and labels: topics up to where they end now, or files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from verdict.operators.message import Message
from verdict.operators.names import DECISIONS, EVENTS, LABELS
from verdict.pipelines.formats.avro_file import read_bodies
from verdict.pipelines.formats.events import read_events as read_event_files
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.jobs.label_feed import LabelFeed
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.read import COMMITTED, Reader
from verdict.pipelines.replay.extent import WholeSpan
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import SOURCE_HEADER, Stop

TELL_EACH = 1_000
"""Records between two calls of a `Progress`."""

Progress = Callable[[str, int], None]
"""Called with what is being read, and how many of it were."""


class Recorded(NamedTuple):
    """A decision as it was recorded.

    ``source`` is what its header of that name says of the record behind it, None in a file;
    ``value`` its bytes, without Confluent's header; ``at`` when it was put out, in milliseconds, or
    its number in the files.
    """

    source: bytes | None
    value: bytes
    at: int


@dataclass(frozen=True)
class Sources:
    """What is replayed, wherever it comes from; each call reads it from its start.

    Attributes
    ----------
    decisions
        Reads the decisions, of whatever pipeline; called once.
    events
        Reads the events; called twice.
    labels
        Reads the labels; called once.
    by_id
        Events and decisions belong together by id and time, not by source: one of the two comes
        from files, which have no coordinates of Kafka's.
    one_by_one
        They were decided by one process, which takes one event after the other through all hops.
    """

    decisions: Callable[[], Iterator[Recorded]]
    events: Callable[[], Iterator[Message]]
    labels: Callable[[], Iterator[Message]] = lambda: iter(())
    by_id: bool = False
    one_by_one: bool = False


def open_sources(
    pipeline: Pipeline,
    events: Sequence[Path] | None,
    decisions: Sequence[Path] | None,
    whole: WholeSpan,
    *,
    stop: Stop,
    progress: Progress | None = None,
) -> Sources:
    """Name a pipeline's topics, or files in their place.

    Parameters
    ----------
    pipeline
        Over the same events; files of labels are those that it names.
    events, decisions
        Files, the first one first; None reads the topic up to its end now.
    whole
        Learns from when on the topic's decisions are whole.
    stop
        Ends the reading.
    progress
        Called with what is read, now and then.
    """
    tell = progress or (lambda _stream, _read: None)
    return Sources(
        lambda: counted(read_decisions(pipeline, decisions, stop, whole), DECISIONS, tell),
        lambda: counted(read_events(pipeline, events, stop), EVENTS, tell),
        lambda: counted(read_labels(pipeline, events, stop), LABELS, tell),
        by_id=events is not None or decisions is not None,
        one_by_one=decisions is not None,  # the embedded engine alone writes files
    )


def counted(records: Iterator[Any], stream: str, tell: Progress) -> Iterator[Any]:
    """Yield records, and tell now and then how many there were.

    >>> list(counted(iter("abc"), "letters", print))
    ['a', 'b', 'c']
    """
    for number, record in enumerate(records, 1):
        yield record
        if number % TELL_EACH == 0:
            tell(stream, number)


def read_decisions(
    pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop, whole: WholeSpan
) -> Iterator[Recorded]:
    """Yield every decision; of a topic, those that name their source."""
    if files is not None:
        bodies = chain.from_iterable(read_bodies(file, definition(DECISIONS)) for file in files)
        for number, value in enumerate(bodies):
            if stop.is_set():
                return
            yield Recorded(None, value, number)
        return
    prefix = 5 if pipeline.spec.settings.output_format == "confluent" else 0
    begun: set[int] = set()
    for record in _topic(pipeline, pipeline.topics[DECISIONS], stop, COMMITTED):
        if record.partition() not in begun:
            begun.add(record.partition())
            whole.begins(record.offset(), record.timestamp()[1])
        source = next(
            (value for name, value in record.headers() or () if name == SOURCE_HEADER), None
        )
        if source is not None and record.value() is not None:
            yield Recorded(source, record.value()[prefix:], record.timestamp()[1])


def read_events(pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop) -> Iterator[Message]:
    """Yield every event."""
    if files is not None:
        for message in read_event_files(files, pipeline.schema, EVENTS):
            if stop.is_set():
                return
            yield message
        return
    topic = pipeline.topics[EVENTS]
    for record in _topic(pipeline, topic, stop, None):
        yield _message(EVENTS, topic, record)


def read_labels(pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop) -> Iterator[Message]:
    """Yield every label, where features read any; ``files`` are those of the events."""
    stream = pipeline.labels_input
    if stream is None:
        return
    if files is not None:
        feed = LabelFeed(pipeline, pipeline.label_files())
        events = read_event_files(files, pipeline.schema, EVENTS)
        for message in chain.from_iterable(feed.groups(events)):
            if stop.is_set():
                return
            if message.stream == LABELS:
                yield message
        yield from feed.rest()
        return
    topic = pipeline.topics[stream]
    for record in _topic(pipeline, topic, stop, COMMITTED):
        yield _message(stream, topic, record)


def _message(stream: str, topic: str, record: Any) -> Message:
    at = record.partition(), record.offset(), record.timestamp()[1]
    return Message(stream, record.key(), record.value(), topic, *at)


def _topic(pipeline: Pipeline, topic: str, stop: Stop, isolation: str | None) -> Iterator[Any]:
    """Read a topic up to where it ends now."""
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    with Reader(settings, "verdict-parity", isolation) as reader:
        yield from reader.read(topic, stop=stop)
