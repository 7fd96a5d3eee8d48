"""A pipeline's decisions, read from their topic as hot consumers do, for `Repeats` to count."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.names import DECISIONS
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.fetch import RecordFetcher
from verdict.pipelines.kafka.read import Reader
from verdict.pipelines.outputs.repeats import Differing, Repeats, differences
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import SOURCE_HEADER, Stop

SHOWN = 20
"""Differing repeats that are described."""


def read(
    pipeline: Pipeline,
    seen: Repeats,
    stop: Stop,
    *,
    since: int | None = None,
    follow: bool = False,
    shown: int = SHOWN,
    differing: Callable[[Differing], object] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Read a pipeline's decisions as hot consumers do, and count them.

    Parameters
    ----------
    pipeline
        Whose decisions.
    seen
        What counts.
    stop
        Ends it.
    since
        Milliseconds since the epoch; records written before it are left out, so that a copy whose
        first one lies before it counts as a decision.
    follow
        Go on when the end is reached, until told to stop.
    shown
        Differing repeats to describe; each costs a look at the first copy.
    differing
        Told of each of these.
    progress
        Told how many records were read, and of how many.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    """
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[DECISIONS]
    decode = stream_decoder(DECISIONS, pipeline.spec.settings)

    def described(
        fetcher: RecordFetcher, source: str, first: Coordinates, record: Any
    ) -> Differing:
        again = Coordinates(topic, record.partition(), record.offset())
        event_id = fields = None
        with suppress(BadRecord):
            new = decode(record.value())
            event_id = new["event_id"]
            original = fetcher.fetch(first)
            if original is not None and original.value is not None:
                fields = differences(decode(original.value), new)
        return Differing(event_id, source, first, again, fields)

    with ExitStack() as opened:
        reader = opened.enter_context(Reader(settings, "verdict-repeats"))
        originals: RecordFetcher | None = None
        left = 0 if differing is None else shown
        for record in reader.read(topic, since=since, follow=follow, stop=stop, progress=progress):
            source = next(
                (value for name, value in record.headers() or () if name == SOURCE_HEADER), None
            )
            value = record.value()
            if source is None or value is None:
                seen.left_out += 1
                continue
            try:
                first = seen.take(source, value, record.partition(), record.offset())
            except ValueError:
                seen.left_out += 1
                continue
            if first is not None and differing is not None and left:
                left -= 1
                originals = originals or opened.enter_context(RecordFetcher(settings))
                name = source.decode("utf-8", "backslashreplace")
                differing(described(originals, name, first._replace(topic=topic), record))
