"""Decisions that came more than once: how many, and which of them say something else.

After a crash an engine puts out again what the last checkpoint, or the last commit, did not hold.
Who reads uncommitted sees both copies. Which records are copies of one decision, the header
``source`` says: it names the input record behind it. A producer's retry is another input record,
and so another decision. The copies have one key, so they lie in one partition, in their order.
"""

import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as Code

from verdict.operators.errors import BadRecord
from verdict.operators.names import DECISIONS
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.fetch import Originals, watermarks
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.telemetry.page import PREFIX
from verdict.pipelines.telemetry.server import Endpoint
from verdict.pipelines.text import printable
from verdict.pipelines.topology import SOURCE_HEADER, Stop

PAGE = 4_096
"""Input offsets of which are remembered together: those between two decisions cost their share,
too, be they dead letters or the markers of a producer's transactions."""
MOST = 33_554_432
"""Decisions remembered at most, 570 MB; then the oldest are forgotten, a page at a time."""
OFFSET_BITS = 48
"""Of a place's 64 bits, those for the offset; the others are the partition's."""
SHOWN = 20
"""Differing repeats that are described."""
POLL_S = 0.2
SILENT_S = 30.0
"""How long a broker that answered before may say nothing."""
FETCH_MOST = 1_000


class Repeats:
    """Counts how often each decision came, and whether every copy had the bytes of the first.

    Of each decision 17 bytes are kept, in pages by the input record's offset: 64 bits of Python's
    keyed hash of the first copy's bytes, where that copy lies, and whether the newest one differs.
    A million decisions took 17 MB of memory. Of two copies that differ, once in 2**64 times they
    pass for equal.

    Parameters
    ----------
    most
        Decisions to remember; of those forgotten a repeat counts as a decision.

    Attributes
    ----------
    read
        Records counted.
    repeats
        Of them, those whose decision had come before.
    repeat_differs
        Of the repeats, those whose bytes are not the first copy's.
    last_differs
        Decisions whose newest copy is not the same as the first.
    left_out
        Records that are no decisions of this release: they name no source, or have no value.
    forgotten
        Input offsets that are remembered no more.

    Examples
    --------
    >>> seen = Repeats()
    >>> seen.take(b"payments/0/7", b"approve", 0, 100)
    >>> seen.take(b"payments/0/7", b"approve", 0, 101)
    >>> seen.take(b"payments/0/7", b"decline", 0, 102)
    Coordinates(topic='', partition=0, offset=100)
    >>> seen.decisions, seen.repeats, seen.repeat_differs
    (1, 2, 1)
    """

    def __init__(self, most: int = MOST) -> None:
        self.read = 0
        self.repeats = 0
        self.repeat_differs = 0
        self.last_differs = 0
        self.left_out = 0
        self.forgotten = 0
        self._pages: dict[tuple[bytes, int], tuple[array[int], array[int], bytearray]] = {}
        self._most = max(1, most // PAGE)

    @property
    def decisions(self) -> int:
        """How many different decisions were read."""
        return self.read - self.repeats

    def take(self, source: bytes, value: bytes, partition: int, offset: int) -> Coordinates | None:
        """Count one copy; return where the first one lies, without its topic, if it differs.

        Parameters
        ----------
        source
            ``topic/partition/offset`` of the input record.
        value
            The decision's bytes.
        partition, offset
            Where this copy lies.

        Raises
        ------
        ValueError
            The source is none.
        """
        where, _, number = source.rpartition(b"/")
        if not number.isdigit():
            raise ValueError("no topic/partition/offset")
        index, at = divmod(int(number), PAGE)
        page = self._pages.get((where, index))
        if page is None:
            page = self._page(where, index)
        digests, places, differ = page
        digest = hash(value) or 1  # 0 stands for none yet
        known = digests[at]
        self.read += 1
        if not known:
            digests[at] = digest
            places[at] = partition << OFFSET_BITS | offset
            return None
        self.repeats += 1
        if known == digest:
            self.last_differs -= differ[at]
            differ[at] = 0
            return None
        self.repeat_differs += 1
        self.last_differs += 1 - differ[at]
        differ[at] = 1
        first = places[at]
        return Coordinates("", first >> OFFSET_BITS, first & (1 << OFFSET_BITS) - 1)

    def _page(self, where: bytes, index: int) -> tuple["array[int]", "array[int]", bytearray]:
        if len(self._pages) == self._most:
            del self._pages[next(iter(self._pages))]
            self.forgotten += PAGE
        page = (array("q", [0]) * PAGE, array("q", [0]) * PAGE, bytearray(PAGE))
        self._pages[where, index] = page
        return page

    def as_json(self) -> dict[str, int]:
        """Say it in what JSON knows."""
        return {
            "decisions": self.decisions,
            "repeats": self.repeats,
            "repeat_differs": self.repeat_differs,
            "last_differs": self.last_differs,
            "left_out": self.left_out,
            "forgotten": self.forgotten,
        }


@dataclass(frozen=True)
class Differing:
    """A repeat that is not as the first copy was.

    Attributes
    ----------
    event_id
        None where this copy cannot be decoded.
    source
        The input record.
    first, again
        Where the two copies lie.
    fields
        What differs, ``features.terminal_count_1d`` for instance. Empty where only the encoding
        does; None where the first copy is gone, or one of the two cannot be decoded.
    """

    event_id: str | None
    source: str
    first: Coordinates
    again: Coordinates
    fields: Sequence[str] | None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return {
            "event_id": self.event_id,
            "source": self.source,
            "first": str(self.first),
            "again": str(self.again),
            "fields": None if self.fields is None else list(self.fields),
        }


def line(found: Differing) -> str:
    """Say in one line how a repeat differs.

    >>> first, again = Coordinates("decisions", 0, 17), Coordinates("decisions", 0, 90)
    >>> print(line(Differing("p1", "payments/0/3", first, again, ["score"])))
    p1 decisions/0/17, again decisions/0/90: score
    """
    what = "cannot be compared" if found.fields is None else ", ".join(found.fields)
    name = printable(found.source if found.event_id is None else found.event_id)
    return f"{name} {found.first}, again {found.again}: {printable(what) or 'the encoding alone'}"


def told(seen: Repeats) -> list[str]:
    """Say what was counted.

    >>> print(*told(Repeats()), sep="\\n")
    0 decisions, 0 repeats, 0 that differ
    """
    differ = f"{seen.repeat_differs:,} that differ"
    lines = [f"{seen.decisions:,} decisions, {seen.repeats:,} repeats, {differ}"]
    if seen.repeat_differs:
        lines.append(f"  newest copy not as the first: {seen.last_differs:,}")
    if seen.left_out:
        lines.append(f"  left out, without a source in their headers or empty: {seen.left_out:,}")
    if seen.forgotten:
        lines.append(f"  forgotten, so that a repeat counts as a decision: {seen.forgotten:,}")
    return lines


def differences(first: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Name the fields in which two records differ, to the bit.

    >>> hops = [{"entity": "card", "hop_seq": 4}]
    >>> first = {"score": 0.25, "features": {"n": 1.0, "mean": float("nan")}, "hops": hops}
    >>> again = {**first, "features": {"n": 2.0, "mean": float("nan")}}
    >>> differences(first, again)
    ['features.n']
    >>> differences(first, {**again, "hops": [{"entity": "card", "hop_seq": 5}]})
    ['features.n', 'hops.0.hop_seq']
    """
    one, other = dict(_leaves("", first)), dict(_leaves("", again))
    # By repr, which tells -0.0 from 0.0, and one NaN not from another.
    return [
        name
        for name in dict.fromkeys((*one, *other))
        if repr(one.get(name)) != repr(other.get(name))
    ]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    parts: Iterator[tuple[Any, Any]]
    if isinstance(value, Mapping):
        parts = iter(value.items())
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        yield name, value
        return
    for part, item in parts:
        yield from _leaves(f"{name}.{part}" if name else str(part), item)


@dataclass(frozen=True)
class Reading:
    """How `read` is asked to read, and whom it tells.

    Attributes
    ----------
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
    """

    since: int | None = None
    follow: bool = False
    shown: int = SHOWN
    differing: Callable[[Differing], object] = field(default=lambda _found: None)
    progress: Callable[[int, int], object] = field(default=lambda _done, _of: None)


def read(pipeline: Pipeline, seen: Repeats, asked: Reading, stop: Stop) -> None:
    """Read a pipeline's decisions as hot consumers do, and count them.

    Parameters
    ----------
    pipeline
        Whose decisions.
    seen
        What counts.
    asked
        How.
    stop
        Ends it.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    """
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[DECISIONS]
    partitions = require(settings, [topic])[topic]
    decode = stream_decoder(DECISIONS, pipeline.spec.settings)

    def described(originals: Originals, source: str, first: Coordinates, record: Any) -> Differing:
        again = Coordinates(topic, record.partition(), record.offset())
        event_id = fields = None
        with suppress(BadRecord):
            new = decode(record.value())
            event_id = new["event_id"]
            original = originals.fetch(first)
            if original is not None and original.value is not None:
                fields = differences(decode(original.value), new)
        return Differing(event_id, source, first, again, fields)

    ours: dict[str, Any] = {
        "group.id": "verdict-repeats",
        # All that was ever written, be its transaction open or aborted: a hot consumer acted on it.
        "isolation.level": "read_uncommitted",
        "enable.partition.eof": True,
        # The end is told by an answer without records, with which a broker takes its time.
        "fetch.wait.max.ms": 50,
        # Who has enough in advance would pause for a second.
        "fetch.queue.backoff.ms": 10,
    }
    with ExitStack() as opened:
        consumer = opened.enter_context(closing(Consumer({**settings.consumer, **ours})))
        originals: Originals | None = None
        shown = 0
        after = asked.since or 0
        for record in records(consumer, topic, partitions, asked, stop):
            if after and record.timestamp()[1] < after:
                continue  # behind a transaction's marker, which has a time of its own
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
            if first is not None and shown < asked.shown:
                shown += 1
                originals = originals or opened.enter_context(Originals(settings))
                name = source.decode("utf-8", "backslashreplace")
                asked.differing(described(originals, name, first._replace(topic=topic), record))


def records(
    consumer: Any, topic: str, partitions: int, asked: Reading, stop: Stop
) -> Iterator[Any]:
    """Read partitions up to where they end now, then on if asked to."""
    ends, total = {}, 0
    starts = _starts(consumer, topic, partitions, asked.since)
    for start in starts:
        low, high = watermarks(consumer, start)
        if high > max(low, start.offset) and start.offset != OFFSET_END:
            ends[start.partition] = high
            total += high - max(low, start.offset)
    consumer.assign(starts)
    heard, done = time.monotonic(), 0
    while (ends or asked.follow) and not stop.is_set():
        one = consumer.poll(POLL_S)
        if one is None:
            if time.monotonic() - heard > SILENT_S and not asked.follow:
                raise KafkaError(f"the broker says nothing for {SILENT_S:g} s; try again")
            continue
        heard = time.monotonic()
        for record in (one, *consumer.consume(FETCH_MOST, 0)):  # a timeout would be waited out
            partition = record.partition()
            failure = record.error()
            if failure is None:
                if not asked.follow:
                    if record.offset() >= ends.get(partition, 0):
                        continue  # came after we began
                    if record.offset() + 1 == ends[partition]:
                        del ends[partition]
                done += 1
                yield record
            elif failure.code() == Code._PARTITION_EOF:  # a transaction's marker may be the last
                ends.pop(partition, None)
            elif not (asked.follow and failure.retriable()):
                raise KafkaError(f"reading {topic}: {failure.str()}")
        asked.progress(done, total)


def _starts(
    consumer: Any, topic: str, partitions: int, since: int | None
) -> Sequence[TopicPartition]:
    if since is None:
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
    asked = [TopicPartition(topic, number, since) for number in range(partitions)]
    # Where nothing is so new, that is the end.
    try:
        found: list[TopicPartition] = consumer.offsets_for_times(asked, timeout=10)
    except KafkaException as error:
        raise KafkaError(f"{topic}: {error.args[0].str()}") from None
    return found


METRICS: Mapping[str, tuple[str, Callable[[Repeats], int]]] = {
    "decisions_read": (
        "Decisions read as hot consumers read them, repeats among them.",
        lambda seen: seen.read,
    ),
    "repeats": ("Decisions read that came before.", lambda seen: seen.repeats),
    "repeat_differs": (
        "Repeats whose bytes are not those of the first copy.",
        lambda seen: seen.repeat_differs,
    ),
}
"""What `serve` shows -> its help, and where it is read off."""


class _Collector:
    """Shows what was counted up to now."""

    def __init__(self, pipeline: str, seen: Repeats) -> None:
        self._pipeline = pipeline
        self._seen = seen

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily

        for name, (help_, value) in METRICS.items():
            family = CounterMetricFamily(f"{PREFIX}_{name}", help_, labels=["pipeline"])
            family.add_metric([self._pipeline], value(self._seen))
            yield family


@contextmanager
def serve(where: Endpoint, pipeline: str, seen: Repeats) -> Iterator[int | None]:
    """Show what is counted at ``http://host:port/metrics``, at the first free port of a range.

    It yields the port; None where none is to be had, and nothing is shown.

    Parameters
    ----------
    where
        ``settings.metrics`` of the pipeline.
    pipeline
        Its name: the only label.
    seen
        What counts.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Collector(pipeline, seen))
    for port in range(where.first, where.last + 1):
        with suppress(OSError):
            server, thread = start_http_server(port, where.host, registry)
            break
    else:
        yield None
        return
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
