"""Dead letters, read back: listed, shown beside their originals, and replayed from these.

A letter keeps 65,536 bytes of what it is about, and the coordinates of the whole. A replay fetches
that from its topic, holds it against the letter's sha256, and sends it to the events topic again.
"""

import base64
import hashlib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import KafkaError as Code

from operators.errors import BadRecord
from operators.records import DEAD_LETTERS, MAX_RAW
from pipelines.errors import FileError, KafkaError
from pipelines.files import NO_TIMESTAMP, read_records
from pipelines.jobs import SCORE_JOB
from pipelines.kafka import Clients, clients, require
from pipelines.pipeline import Pipeline
from pipelines.streams import EVENTS, stream_decoder

REPLAYED_HEADER = "replayed-from"
"""Header of a replayed event: ``topic/partition/offset`` of the event that failed first."""

POLL_S = 0.5
SILENT_S = 30.0
"""How long a broker that answered before may say nothing."""
FETCH_MOST = 500
NEAR = 2_000
"""Offsets up to so far ahead are read on to, not sought."""
WINDOW = 200
"""Letters whose originals are fetched in the order of their offsets; each is 0.2 MB at most."""
LARGEST = 1_000_000_000
"""librdkafka's limit for ``message.max.bytes``: an original was taken by the broker once."""
QUEUED_KB = 262_144
"""Most that waits to be sent."""
FLUSH_S = 60.0
SHOWN_BYTES, SHOWN_CHARACTERS = 512, 4_096
"""What `dump` and `text` show of a value at most."""
AFTER_STATE = ("features", "score")
"""Stages in which the windows have counted the event already."""

Say = Callable[[str, bool], None]
"""Told of each letter what becomes of it, and whether the sum in the end says it well enough."""
Headers = list[tuple[str, bytes | None]]


class Coordinates(NamedTuple):
    """Where a record lies.

    >>> str(coordinates("payments/0/17"))
    'payments/0/17'
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def coordinates(text: str) -> Coordinates:
    """Read ``topic/partition/offset``.

    Raises
    ------
    KafkaError
        It is none.
    """
    topic, partition, offset = [*text.rsplit("/", 2), "", ""][:3]
    if not topic or not (partition.isdecimal() and offset.isdecimal()):
        raise KafkaError(
            f"'{text}' is no place of a record; write TOPIC/PARTITION/OFFSET, as 'verdict dlq "
            "list' shows it: transactions/0/17"
        )
    return Coordinates(topic, int(partition), int(offset))


@dataclass(frozen=True)
class Letter:
    """A dead letter.

    Attributes
    ----------
    at
        When it was written, milliseconds since the epoch; negative in a file, which does not say.
    pipeline, job, stage, kind, reason
        Whose it is, and what was wrong.
    original
        Where the record lies that it is about.
    timestamp
        The record's, milliseconds since the epoch; negative where it had none.
    key, value
        Of the record, each cut at 65,536 bytes.
    value_size
        Bytes of the whole value; -1 for a tombstone.
    value_sha256
        Of the whole value.
    """

    at: int
    pipeline: str
    job: str
    stage: str
    kind: str
    reason: str
    original: Coordinates
    timestamp: int
    key: bytes | None
    value: bytes | None
    value_size: int
    value_sha256: str | None

    @property
    def complete(self) -> bool:
        """Whether it holds the whole of the record."""
        whole_key = self.key is None or len(self.key) < MAX_RAW
        return whole_key and (self.value is None or len(self.value) == self.value_size)

    def as_json(self, raw: bool = True) -> dict[str, Any]:
        """Say it in what JSON knows; ``raw`` with the bytes, in base64."""
        found = asdict(self) | self.original._asdict()
        del found["original"]
        found["at"] = moment(self.at)
        found["timestamp"] = moment(self.timestamp)
        for name in ("key", "value"):
            data: bytes | None = found.pop(name)
            if raw or name == "key":
                found[name] = None if data is None else data.decode("utf-8", "backslashreplace")
            if raw:
                encoded = None if data is None else base64.b64encode(data).decode()
                found[f"{name}_base64"] = encoded
        return found


@dataclass(frozen=True)
class Asked:
    """Which letters: each part that is not None must fit.

    Attributes
    ----------
    stage, kind
        Of the letter.
    since
        Milliseconds since the epoch; letters written before it are left out.
    originals
        Of the records.
    """

    stage: str | None = None
    kind: str | None = None
    since: int | None = None
    originals: frozenset[Coordinates] | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is one of those."""
        return (
            self.stage in (None, letter.stage)
            and self.kind in (None, letter.kind)
            and (self.since is None or letter.at >= self.since)
            and (self.originals is None or letter.original in self.originals)
        )


def ago(duration: int, now: float | None = None) -> int:
    """Return the time that lies a duration, in milliseconds, before now.

    >>> ago(60_000, now=100.0)
    40000
    """
    return int((time.time() if now is None else now) * 1000) - duration


def moment(at: int) -> str | None:
    """Write a time as ISO 8601; None where there is none, or none that a calendar has.

    >>> moment(0), moment(-1), moment(10**18)
    ('1970-01-01T00:00:00.000Z', None, None)
    """
    if at < 0:
        return None
    try:
        stands = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    except OverflowError:
        return None
    return stands.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Reading


def letters(
    pipeline: Pipeline,
    asked: Asked,
    folder: Path | None = None,
    strange: Callable[[str], None] = lambda _where: None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Iterator[Letter]:
    """Read the dead letters that are there now, oldest first in each partition.

    Only one is in memory at a time.

    Parameters
    ----------
    pipeline
        Whose they are.
    asked
        Which of them.
    folder
        Of the output files of a run from files; None reads the topic.
    strange
        Told where a record lies that is no dead letter.
    progress
        Told how many records were read, and of how many.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    FileError
        There is no such file; or ``since`` is asked of one.
    """
    found = _of_topic(pipeline, asked.since, strange, progress)
    if folder is not None:
        if asked.since is not None:
            raise FileError("--since goes by the time at which Kafka got a letter; a file has none")
        found = _of_file(pipeline, folder)
    with closing(found):
        yield from filter(asked.fits, found)


def newest(found: Iterable[Letter], most: int) -> list[Letter]:
    """Return the newest of some letters, oldest first, without their values.

    >>> newest([], 3)
    []
    """
    kept: list[tuple[int, int, Letter]] = []
    for number, letter in enumerate(found):
        slim = Letter(**{**vars(letter), "value": None})
        (heapq.heappush if len(kept) < most else heapq.heappushpop)(kept, (letter.at, number, slim))
    return [letter for *_, letter in sorted(kept)]


def _of_file(pipeline: Pipeline, folder: Path) -> Generator[Letter, None, None]:
    path = folder / f"{pipeline.topics[DEAD_LETTERS]}.avro"
    if not path.exists():
        raise FileError(f"there is no {path}: run the pipeline first, or name its folder by --from")
    for record in read_records(path):
        at = record["timestamp"]
        stamp = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        yield _letter({**record, "timestamp": stamp}, NO_TIMESTAMP)


def _of_topic(
    pipeline: Pipeline,
    since: int | None,
    strange: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Generator[Letter, None, None]:
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[DEAD_LETTERS]
    partitions = require(settings, [topic])[topic]
    decode = stream_decoder(DEAD_LETTERS, pipeline.spec.settings)
    # As `verdict tail`: at once, not up to a checkpoint later.
    ours = {"isolation.level": "read_uncommitted", "group.id": "verdict-dlq"}
    consumer = Consumer({**settings.consumer, **ours, "enable.partition.eof": True})
    with closing(consumer):
        ends, starts = {}, []
        total = 0
        for start in _starts(consumer, topic, partitions, since):
            low, high = _watermarks(consumer, start)
            if high > low and start.offset < high:
                ends[start.partition] = high
                starts.append(start)
                total += high - max(low, start.offset)
        consumer.assign(starts)
        for done, record in enumerate(_records(consumer, ends), 1):
            if not done % FETCH_MOST:
                progress(done, total)
            try:
                yield _letter(decode(record.value() or b""), record.timestamp()[1])
            except BadRecord:
                strange(f"{topic}/{record.partition()}/{record.offset()}")


def _starts(
    consumer: Any, topic: str, partitions: int, since: int | None
) -> Sequence[TopicPartition]:
    if since is None:
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
    asked = [TopicPartition(topic, number, since) for number in range(partitions)]
    try:
        found: list[TopicPartition] = consumer.offsets_for_times(asked, timeout=10)
    except KafkaException as error:
        raise KafkaError(f"{topic}: {error.args[0].str()}") from None
    return [each for each in found if each.offset >= 0]  # else nothing is so new


def _records(consumer: Any, ends: dict[int, int]) -> Iterator[Any]:
    """Read partitions up to their ends, which are dropped from the mapping on the way."""
    heard = time.monotonic()
    while ends:
        first = consumer.poll(POLL_S)
        if first is not None:
            heard = time.monotonic()
        elif time.monotonic() - heard > SILENT_S:
            raise KafkaError(f"the broker says nothing for {SILENT_S:g} s; try again")
        else:
            continue
        for record in (first, *consumer.consume(FETCH_MOST, 0)):  # a timeout would be waited out
            partition = record.partition()
            error = record.error()
            if error is None:
                if record.offset() >= ends.get(partition, 0):
                    continue  # came after we began
                if record.offset() + 1 == ends[partition]:
                    del ends[partition]
                yield record
            elif error.code() == Code._PARTITION_EOF:  # a transaction's marker may be the last
                ends.pop(partition, None)
            else:
                raise KafkaError(f"reading {record.topic()}: {error.str()}")


def _watermarks(consumer: Any, partition: TopicPartition) -> tuple[int, int]:
    try:
        low, high = consumer.get_watermark_offsets(partition, timeout=10)
    except KafkaException as error:
        raise KafkaError(f"{partition.topic}: {error.args[0].str()}") from None
    return low, high


def _letter(record: Mapping[str, Any], at: int) -> Letter:
    return Letter(
        at,
        record["pipeline"],
        record["job"],
        record["stage"],
        record["kind"],
        record["reason"],
        Coordinates(record["topic"], record["partition"], record["offset"]),
        record["timestamp"],
        record["key"],
        record["value"],
        record["value_size"],
        record["value_sha256"],
    )


@dataclass
class Tally:
    """How many letters of one stage, kind and job there are, and from when to when."""

    stage: str
    kind: str
    job: str
    count: int = 0
    first: int = NO_TIMESTAMP
    last: int = NO_TIMESTAMP

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return asdict(self) | {"first": moment(self.first), "last": moment(self.last)}


def summary(found: Iterable[Letter]) -> list[Tally]:
    """Count letters by stage, kind and job, the most first."""
    tallies: dict[tuple[str, str, str], Tally] = {}
    for letter in found:
        key = (letter.stage, letter.kind, letter.job)
        tally = tallies.setdefault(key, Tally(*key))
        tally.count += 1
        tally.first = letter.at if tally.first < 0 else min(tally.first, letter.at)
        tally.last = max(tally.last, letter.at)
    return sorted(tallies.values(), key=lambda tally: -tally.count)


# Showing


def table(tallies: Sequence[Tally]) -> list[str]:
    """Lay a summary out in columns.

    >>> print(*table([Tally("decode", "not-avro", "score", 12, 0, 60_000)]), sep="\\n")
       count  stage     kind             job     first                     last
          12  decode    not-avro         score   1970-01-01T00:00:00.000Z  1970-01-01T00:01:00.000Z
    """
    rows = [("count", "stage", "kind", "job", "first", "last")]
    for each in tallies:
        first, last = moment(each.first) or "-", moment(each.last) or "-"
        rows.append((f"{each.count:,}", each.stage, each.kind, each.job, first, last))
    return [
        f"{count:>8}  {stage:<8}  {kind:<15}  {job:<6}  {first:<24}  {last}".rstrip()
        for count, stage, kind, job, first, last in rows
    ]


def printable(text: str) -> str:
    """Escape what a terminal would obey: whoever sent the record chose its text.

    >>> print(printable("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line(letter: Letter) -> str:
    """Say a letter in one line."""
    written = f"{moment(letter.at)} " if letter.at >= 0 else ""
    what = f"{letter.job} {letter.stage}/{letter.kind}"
    return f"{written}{letter.original} {what}: {printable(letter.reason)}"


def body(data: bytes | None) -> list[str]:
    """Show bytes: text line by line if they are UTF-8, else what `xxd` shows; cut.

    >>> body(b'{"id": 1}')
    ['{"id": 1}']
    >>> body(bytes([0, 255]))
    ['00000000  00 ff                                            |..|']
    """
    if data is None:
        return ["(none)"]
    if not data:
        return ["(empty)"]
    try:
        # A cut at 65,536 bytes may have gone through a character.
        text = data[: len(data) - _torn(data)].decode() if len(data) >= MAX_RAW else data.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not any(ord(c) < 32 and c not in "\t\r\n" for c in text):
        shown = [printable(each) for each in text[:SHOWN_CHARACTERS].splitlines()]
        left = len(text) - SHOWN_CHARACTERS
        return [*shown, f"… {left:,} characters more"] if left > 0 else shown
    rows = []
    for start in range(0, min(len(data), SHOWN_BYTES), 16):
        row = data[start : start + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<47}  |{seen}|")
    left = len(data) - SHOWN_BYTES
    return [*rows, f"… {left:,} bytes more"] if left > 0 else rows


def _torn(data: bytes) -> int:
    """Count the bytes of a character that the end cuts."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if length > back else 0
        if byte < 0x80:
            return 0
    return 0


class Found(StrEnum):
    """What became of an original."""

    THERE = "there"
    GONE = "gone"
    CHANGED = "changed"


STATES = {
    Found.THERE: "still there, the same",
    Found.GONE: "gone from its topic",
    Found.CHANGED: "another record lies there now",
}


def described(letter: Letter, state: Found | None) -> list[str]:
    """Say all of a letter.

    Parameters
    ----------
    letter
        The letter.
    state
        What became of the original; None of one in a file.
    """
    size = "a tombstone" if letter.value_size < 0 else f"{letter.value_size:,} bytes"
    if not letter.complete:
        size += f", of which the letter holds {len(letter.value or b''):,}"
    facts = {
        "original": str(letter.original) + ("" if state is None else f", {STATES[state]}"),
        "its timestamp": moment(letter.timestamp) or "none",
        "pipeline": f"{letter.pipeline}/{letter.job}",
        "stage/kind": f"{letter.stage}/{letter.kind}",
        "reason": printable(letter.reason),
        "written": moment(letter.at) or "-",
        "size": size,
        "sha256": letter.value_sha256 or "-",
    }
    shown = [f"{name:<14}{text}" for name, text in facts.items()]
    for name, data in (("key", letter.key), ("value", letter.value)):
        shown += [f"{name}:", *(f"  {row}" for row in body(data))]
    return shown


# The originals


class Original(NamedTuple):
    """A record, fetched again."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


class Originals:
    """Fetches records by their coordinates; quick for those that lie close together.

    Parameters
    ----------
    settings
        Of the clients.
    """

    def __init__(self, settings: Clients) -> None:
        ours: dict[str, Any] = {"group.id": "verdict-dlq", "enable.partition.eof": True}
        # What was scored is named by its offset, whatever its transaction; and little in advance,
        # for the next one wanted may lie elsewhere.
        ours |= {"isolation.level": "read_uncommitted", "queued.max.messages.kbytes": 16_384}
        # Before it goes elsewhere, a consumer waits for the answer to what it asked for last.
        ours["fetch.wait.max.ms"] = 10
        self._consumer = Consumer({**settings.consumer, **ours, "auto.offset.reset": "error"})
        self._topics = _partitions(settings)
        self._at: tuple[str, int, int] | None = None  # the next record that a poll returns
        self._ahead: Any = None  # a record that was read too early

    def __enter__(self) -> "Originals":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def fetch(self, place: Coordinates) -> Original | None:
        """Fetch one; None if its topic has it no more."""
        if place.partition >= self._topics.get(place.topic, 0):
            return None
        if not self._near(place):
            self._ahead = None
            partition = TopicPartition(place.topic, place.partition, place.offset)
            low, high = _watermarks(self._consumer, partition)
            if not low <= place.offset < high:
                self._at = None
                return None
            self._consumer.assign([partition])
            self._at = place
        deadline = time.monotonic() + SILENT_S
        while True:
            record, self._ahead = self._ahead or self._consumer.poll(POLL_S), None
            if record is None:
                if time.monotonic() > deadline:
                    raise KafkaError(f"{place}: the broker says nothing for {SILENT_S:g} s")
                continue
            error = record.error()
            if error is not None:
                if error.code() == Code._PARTITION_EOF and record.offset() <= place.offset:
                    partition = TopicPartition(place.topic, place.partition)
                    if place.offset < _watermarks(self._consumer, partition)[1]:
                        continue  # the end was here when an earlier one was fetched
                self._at = None
                if error.code() in (Code._PARTITION_EOF, Code._AUTO_OFFSET_RESET):
                    return None
                raise KafkaError(f"reading {place}: {error.str()}")
            self._at = (place.topic, place.partition, record.offset() + 1)
            if record.offset() < place.offset:
                continue
            if record.offset() > place.offset:  # compacted away, or a transaction's that failed
                self._ahead = record
                return None
            stamp = record.timestamp()[1] if record.timestamp()[0] else NO_TIMESTAMP
            headers = [(name, value) for name, value in record.headers() or []]
            return Original(record.key(), record.value(), stamp, headers)

    def _near(self, place: Coordinates) -> bool:
        if self._at is None:
            return False
        topic, partition, offset = self._at
        start = self._ahead.offset() if self._ahead is not None else offset
        same = (topic, partition) == (place.topic, place.partition)
        return same and start <= place.offset <= start + NEAR


def _partitions(settings: Clients) -> dict[str, int]:
    from pipelines.kafka import ANSWER_S, connect

    topics = connect(settings).list_topics(timeout=ANSWER_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def compared(letter: Letter, original: Original | None) -> Found:
    """Say whether an original is still there, and the same by size and sha256."""
    if original is None:
        return Found.GONE
    value = original.value
    if value is None or letter.value_sha256 is None:
        same = value is None and letter.value_sha256 is None
    else:
        same = len(value) == letter.value_size and _sha256(value) == letter.value_sha256
    return Found.THERE if same else Found.CHANGED


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def look(pipeline: Pipeline, letter: Letter) -> Found:
    """Fetch a letter's original and say what became of it."""
    with Originals(clients(pipeline.spec.settings, pipeline.path.parent)) as originals:
        return compared(letter, originals.fetch(letter.original))


# Replay


@dataclass
class Replayed:
    """What a replay did.

    Attributes
    ----------
    replayed
        Events sent again.
    gone
        Originals that no topic has any more, and that no letter holds whole.
    changed
        Places where another record lies now: nothing was sent.
    skipped
        Letters left out: of another job, of another pipeline, or of an event that was replayed.
    from_letters
        Of the replayed, those that were taken from their letters, since their originals are gone.
    counted
        Of the replayed, those that the windows had counted already, and count again.
    why
        Reason -> how many were skipped for it.
    """

    replayed: int = 0
    gone: int = 0
    changed: int = 0
    skipped: int = 0
    from_letters: int = 0
    counted: int = 0
    why: Counter[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return asdict(self) | {"why": dict(self.why or {})}


def told(did: Replayed, dry: bool) -> list[str]:
    """Say what a replay did.

    >>> print(*told(Replayed(replayed=2, gone=1), dry=False), sep="\\n")
    2 replayed, 1 gone, 0 changed, 0 skipped
    """
    sent = f"{did.replayed:,} {'would be ' if dry else ''}replayed"
    lines = [f"{sent}, {did.gone:,} gone, {did.changed:,} changed, {did.skipped:,} skipped"]
    if did.from_letters:
        lines.append(f"  {did.from_letters:,} of them from their letters: the originals are gone")
    if did.counted:
        lines.append(
            f"  {did.counted:,} of them had failed after the windows had counted them, and count "
            "twice now: events.dedupe prevents that"
        )
    lines += [f"  {count:,} skipped: {why}" for why, count in (did.why or {}).items()]
    return lines


class Replay:
    """Sends the originals of dead letters to the events topic again.

    Key, value, Kafka timestamp and headers are the original's; the header ``replayed-from`` says
    where it came from. An event goes to the partition that it was in, so that it stays in one with
    its entity's others. No event is replayed twice in one run, be there two letters of it.

    Parameters
    ----------
    pipeline
        The pipeline, whose events come from a topic.
    dry
        Do everything but send.
    say
        Told of each letter, in a line.

    Raises
    ------
    KafkaError
        The broker does not answer, a topic is missing, or the events come from files.
    """

    def __init__(
        self, pipeline: Pipeline, *, dry: bool = False, say: Say = lambda _what, _done: None
    ) -> None:
        self.did = Replayed(why=Counter())
        self._pipeline = pipeline.spec.pipeline
        if EVENTS not in pipeline.topics:
            raise KafkaError(
                "dead letters are replayed to events.topic, and this pipeline's events come from "
                "files: mend the files, and run them again with an empty state"
            )
        self._topic = pipeline.topics[EVENTS]
        self._say, self._dry = say, dry
        self._done: dict[tuple[str, int], set[int]] = {}
        self._failure: Code | None = None
        self._dedupes = pipeline.spec.events.dedupe is not None
        settings = clients(pipeline.spec.settings, pipeline.path.parent)
        self._partitions = require(settings, [self._topic])[self._topic]
        self._originals = Originals(settings)
        ours = {"message.max.bytes": LARGEST, "queue.buffering.max.kbytes": QUEUED_KB}
        self._producer = None if dry else Producer({**settings.producer, **ours})

    def __enter__(self) -> "Replay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._originals.close()

    def run(self, found: Iterable[Letter], wanted: Iterable[Coordinates] = ()) -> Replayed:
        """Replay letters; what was sent is acknowledged when it returns, or raises.

        Parameters
        ----------
        found
            The letters.
        wanted
            Originals that must be among theirs.

        Raises
        ------
        KafkaError
            The broker refuses an event, or a wanted one has no letter; the others are replayed.
        """
        missing = set(wanted)
        window: list[Letter] = []
        try:
            for letter in found:
                if self._failure is not None:
                    break
                missing.discard(letter.original)
                why = self._left_out(letter)
                if why is not None:
                    self._skip(letter, why)
                    continue
                window.append(letter)
                if len(window) == WINDOW:
                    self._replay(window)
                    window = []
            self._replay(window)
        finally:
            self._flush()
        if self._failure is not None:
            raise KafkaError(
                f"{self._topic} does not take a replayed event: {self._failure.str()}; "
                f"{self.did.replayed:,} were replayed"
            )
        if missing:
            raise KafkaError(
                f"no dead letter is of {', '.join(map(str, sorted(missing)))}; "
                "'verdict dlq list' shows what there is"
            )
        return self.did

    def _left_out(self, letter: Letter) -> str | None:
        if letter.pipeline != self._pipeline:
            return f"of pipeline {letter.pipeline}"
        if letter.job != SCORE_JOB:
            return f"of job {letter.job}: its input is no event"
        return None

    def _replay(self, window: list[Letter]) -> None:
        # In the order of the originals: events of a key stay in theirs.
        for letter in sorted(window, key=lambda letter: letter.original):
            if self._failure is not None:
                return
            self._one(letter)

    def _one(self, letter: Letter) -> None:
        if self._is_done(letter.original):
            self._skip(letter, "replayed in this run already")
            return
        original = self._originals.fetch(letter.original)
        state = compared(letter, original)
        if state == Found.CHANGED:
            self.did.changed += 1
            self._say(f"{letter.original}: another record lies there now; not replayed", False)
            return
        if original is None:
            if not letter.complete:
                self.did.gone += 1
                self._say(
                    f"{letter.original}: its topic has it no more, and the letter holds "
                    f"{len(letter.value or b''):,} of {letter.value_size:,} bytes; not replayed",
                    False,
                )
                return
            original = Original(letter.key, letter.value, letter.timestamp, [])
            self.did.from_letters += 1
        root = _root(original.headers, letter.original)
        if root != letter.original and self._is_done(root):
            self._skip(letter, "replayed in this run already")
            return
        self._done.setdefault(root[:2], set()).add(root.offset)
        self._done.setdefault(letter.original[:2], set()).add(letter.original.offset)
        if letter.stage in AFTER_STATE and not self._dedupes:
            self.did.counted += 1
        self._send(letter, original, str(root).encode())
        self._say(f"{letter.original}: {'would be ' if self._dry else ''}replayed", True)

    def _is_done(self, place: Coordinates) -> bool:
        return place.offset in self._done.get(place[:2], ())

    def _skip(self, letter: Letter, why: str) -> None:
        assert self.did.why is not None
        self.did.skipped += 1
        self.did.why[why] += 1
        self._say(f"{letter.original}: skipped, {why}", True)

    def _send(self, letter: Letter, original: Original, root: bytes) -> None:
        if self._producer is None:
            self.did.replayed += 1
            return
        place = letter.original
        kept = place.topic == self._topic and place.partition < self._partitions
        headers = [each for each in original.headers if each[0] != REPLAYED_HEADER]
        where = {"partition": place.partition} if kept else {}
        when = {"timestamp": original.timestamp} if original.timestamp > 0 else {}
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=original.key,
                    value=original.value,
                    headers=[*headers, (REPLAYED_HEADER, root)],
                    on_delivery=self._delivered,
                    **where,
                    **when,
                )
                self._producer.poll(0)
                return
            except BufferError:
                if not len(self._producer):
                    raise KafkaError(
                        f"{place}: {len(original.value or b''):,} bytes are more than a replay "
                        "sends; send it by your own means"
                    ) from None
                self._producer.poll(0.1)
            except KafkaException as error:
                self._failure = self._failure or error.args[0]
                return

    def _delivered(self, error: Code | None, _record: Any) -> None:
        if error is None:
            self.did.replayed += 1
        else:
            self._failure = self._failure or error

    def _flush(self) -> None:
        if self._producer is not None and self._producer.flush(FLUSH_S):
            raise KafkaError(f"{self._topic}: not all was acknowledged within {FLUSH_S:g} s")


def _root(headers: Headers, otherwise: Coordinates) -> Coordinates:
    """Read a ``replayed-from``; a header that is none of ours counts as none."""
    for name, value in headers:
        if name == REPLAYED_HEADER and value is not None:
            with suppress(KafkaError, UnicodeDecodeError):
                return coordinates(value.decode())
    return otherwise
