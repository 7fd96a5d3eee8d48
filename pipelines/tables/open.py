"""Tables that features are looked up in: each follows a compacted topic, or is read from files.

A process has one copy of a table, in a folder of its own, for all operators that ask it. A thread
reads the topic and puts rows and offsets into one WriteBatch; no operator starts before the table
holds all that was in the topic.
"""

import atexit
import contextlib
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as ClientError

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import Decode, avro_decoder, confluent_decoder, json_decoder
from verdict.operators.features.lookups import Asked, Lookup, Lookups, Rows
from verdict.pipelines.errors import KafkaError, RegistryError
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.paths import cache_folder
from verdict.pipelines.spec.features import LookupFeature
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings
from verdict.state.errors import StateError, VerdictError
from verdict.state.store.table import Table, TableInUse

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())

APPLY_MOST = 1_000
"""Most records of a WriteBatch."""
POLL_S = 0.1
"""How long to wait for a record before looking whether to stop."""
READY_S = 60.0
"""How long a table that is being filled may stand still before its job gives up."""
LOOK_S = 0.05
"""Seconds between two looks whether it is full."""
OLDEST_S = 12 * 3600
"""A table that was not at its topic's end for so long is filled anew: Kafka keeps the mark of a
deleted key for a day (``delete.retention.ms``), and who comes later never hears of it."""
COMPACT_FROM = 10_000
"""Rows read at a start from which on the table's files are put in order."""
BOOTSTRAP = ("bootstrap.servers", "metadata.broker.list")
AGAIN_S = 1.0
"""How long to wait before a schema registry that was away is asked again."""


@dataclass(frozen=True)
class Place:
    """What a hop has to be told to find its tables; it travels with the hop's factory.

    Attributes
    ----------
    pipeline
        The pipeline file, where the job was made.
    folder
        For tables, there.
    bootstrap
        ``host:port`` of Kafka's brokers; None where events and rows come from files.
    """

    pipeline: Path
    folder: Path
    bootstrap: str | None

    def home(self, pipeline: Path) -> Path:
        """Return the folder for tables where the hop runs.

        A cluster's worker has the pipeline from its package, and tables in its cache folder.
        """
        return self.folder if pipeline == self.pipeline else cache_folder() / "lookups"


def place(pipeline: Pipeline) -> Place | None:
    """Return where a pipeline's tables are; None where no feature is looked up.

    Raises
    ------
    KafkaError
        ``settings.kafka`` is wrong.
    """
    if not _asked(pipeline):
        return None
    settings = pipeline.spec.settings
    from_files = pipeline.spec.events.files is not None
    return Place(
        pipeline.path,
        pipeline.file(settings.state).absolute() / pipeline.spec.pipeline / "lookups",
        None if from_files else _servers(settings, pipeline.path.parent),
    )


def _servers(settings: Settings, folder: Path) -> str:
    """Return the brokers without a look at secrets, which may be where the hop runs alone."""
    told = {name: settings.kafka[name] for name in BOOTSTRAP if name in settings.kafka}
    return clients(settings.model_copy(update={"kafka": told}), folder).servers


def _asked(pipeline: Pipeline) -> dict[str, list[tuple[str, LookupFeature]]]:
    """Lookup -> its features."""
    found: dict[str, list[tuple[str, LookupFeature]]] = {}
    for name, feature in pipeline.spec.features.items():
        if isinstance(feature, LookupFeature):
            found.setdefault(feature.table, []).append((name, feature))
    return found


def names(pipeline: Pipeline) -> list[str]:
    """List the features that are looked up, in the order in which they become known."""
    return [name for features in _asked(pipeline).values() for name, _ in features]


def lookups(pipeline: Pipeline, where: Place | None) -> Lookups | None:
    """Open the tables that a pipeline's features ask, and wait until they are full.

    Raises
    ------
    VerdictError
        A topic or file cannot be read, or a table stood still while it was being filled.
    """
    if where is None:
        return None
    opened: list[Lookup] = []
    try:
        for name in _asked(pipeline):
            opened.append(_lookup(pipeline, name, where))
        for lookup in opened:
            assert isinstance(lookup.table, Shared)
            lookup.table.ready()
    except BaseException:
        for lookup in opened:
            lookup.table.close()
        raise
    return Lookups(opened)


def _lookup(pipeline: Pipeline, name: str, where: Place) -> Lookup:
    spec = pipeline.spec.lookups[name]
    features = _asked(pipeline)[name]
    fields = sorted({each.field for _, each in features if each.field is not None})
    asked = [
        Asked(own, None if each.field is None else fields.index(each.field), each.default)
        for own, each in features
    ]
    schema = pipeline.rows.get(name)
    decode = None
    if fields or spec.expires or where.bootstrap is None:
        decode = _decoder(pipeline, name, from_files=where.bootstrap is None)
    row_key = spec.key_of_row if where.bootstrap is None else ()
    rows = Rows(fields, spec.expires, schema, decode, row_key)
    made_of = json.dumps(
        [
            *(where.bootstrap, spec.topic, spec.format, fields, spec.expires),
            None if schema is None or decode is None else _digest(schema.definition),
        ]
    )
    folder = where.home(pipeline.path)
    if pipeline.path != where.pipeline:
        folder = folder / pipeline.spec.pipeline
    if where.bootstrap is None:
        files = [pipeline.file(file) for file in spec.files or []]
        assert schema is not None
        table: Shared = FromFiles(name, folder / name, rows, files, schema)
    else:
        settings = pipeline.spec.settings
        kafka = {name: value for name, value in settings.kafka.items() if name not in BOOTSTRAP}
        kafka[BOOTSTRAP[0]] = where.bootstrap
        made = clients(settings.model_copy(update={"kafka": kafka}), pipeline.path.parent)
        assert spec.topic is not None
        table = _followed(name, folder / name, made_of, rows, spec.topic, made)
    return Lookup(table, rows, spec.key_of_event, spec.expires is not None, asked)


def _digest(definition: Any) -> str:
    text = json.dumps(definition, sort_keys=True, default=lambda data: data.decode("latin-1"))
    return sha256(text.encode()).hexdigest()


def _decoder(pipeline: Pipeline, name: str, from_files: bool) -> Decode:
    spec, schema = pipeline.spec.lookups[name], pipeline.rows[name]
    if spec.format == "json":
        return json_decoder()
    schemas = pipeline.spec.settings.schemas
    if spec.format == "confluent" and schemas is not None and not from_files:
        from verdict.pipelines.formats.registry import SchemaSource

        return confluent_decoder(schema, SchemaSource(schemas, pipeline.path.parent).writer_schema)
    return avro_decoder(schema)


def claim(folder: Path, made_of: str) -> Table:
    """Open the first table of a folder that no other process holds.

    They are numbered. A process that starts again finds the one it had, unless one that is still
    dying holds it: then it takes the next, and fills that.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = claim(Path(folder), "a"), claim(Path(folder), "a")
    ...     first.apply({b"k": b"row"}, {})
    ...     first.close()
    ...     again = claim(Path(folder), "a")
    ...     print(again.rows, second.rows)
    ...     again.close()
    ...     second.close()
    1 0
    """
    for number in itertools.count():
        try:
            return Table(folder / str(number), made_of)
        except TableInUse:
            continue
    raise AssertionError


class Shared:
    """A table that several operators of this process ask; it is let go of by the last of them."""

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.users = 1
        self._table = table
        self.get: Callable[[bytes], bytes | None] = table.get
        self._refused = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._table.rows

    @property
    def bad(self) -> int:
        """How many records were no rows."""
        return self._refused

    @property
    def lag(self) -> int | None:
        """How many records are not in the table yet; None where that is not known."""
        return 0

    def ready(self) -> None:
        """Wait until the table is full."""

    def close(self) -> None:
        """Let go of it."""
        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            for key in [key for key, table in _tables.items() if table is self]:
                del _tables[key]
            self._end()

    def _end(self) -> None:
        self._table.close()

    def _refuse(self, where: str, error: BadRecord) -> None:
        self._refused += 1
        # Its text may quote the row.
        LOGGER.warning(
            "lookup '%s': the record %s is no row (%s) and is left out; the row that its key had "
            "stays. Mend the producer and send it again.",
            self.name,
            where,
            error.kind,
        )


class FromFiles(Shared):
    """A table that is read from files, whole, before the first event."""

    def __init__(
        self, name: str, folder: Path, rows: Rows, files: Sequence[Path], schema: Any
    ) -> None:
        table = claim(folder, "files")
        super().__init__(name, table)
        try:
            table.clear()
            for batch in _batched(read_events(files, schema, name), APPLY_MOST):
                changes: dict[bytes, bytes | None] = {}
                for message in batch:
                    try:
                        key, row = rows.keyed(message.value)
                    except BadRecord as error:
                        self._refuse(f"{message.topic}:{message.offset}", error)
                    else:
                        changes[key] = row
                table.apply(changes, {})
        except BaseException:
            table.close()
            raise


def _batched(messages: Iterator[Any], most: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(messages, most)):
        yield batch


_lock = threading.RLock()
_tables: dict[tuple[str, str, str], "Followed"] = {}
"""What this process follows: hops of one interpreter share a table."""


def _followed(
    name: str, folder: Path, made_of: str, rows: Rows, topic: str, made: Clients
) -> "Followed":
    key = (str(folder), name, made_of)
    with _lock:
        table = _tables.get(key)
        if table is None or table.failed:
            table = _tables[key] = Followed(name, folder, made_of, rows, topic, made)
        else:
            table.users += 1
        return table


class Followed(Shared):
    """A table that follows a topic.

    Parameters
    ----------
    name
        Of the lookup.
    folder
        For it.
    made_of
        What its rows come from and how they are packed.
    rows
        Packs them.
    topic
        Compacted: a key's last record is its row, one without value deletes it.
    made
        Settings of the clients.

    Raises
    ------
    KafkaError
        The broker does not answer, or the topic is missing.
    """

    def __init__(
        self, name: str, folder: Path, made_of: str, rows: Rows, topic: str, made: Clients
    ) -> None:
        partitions = require(made, [topic])[topic]
        super().__init__(name, claim(folder, made_of))
        self._topic, self._pack = topic, rows.pack
        self._failure: VerdictError | None = None
        self._stop, self._full = threading.Event(), threading.Event()
        self._lag: int | None = None
        self._progress = time.monotonic()
        ours = {
            "group.id": "verdict-lookup",
            "enable.partition.eof": True,
            # What a producer took back was never in the table; a lag is known to the last record.
            "isolation.level": "read_committed",
        }
        self._consumer = Consumer({**made.consumer, **ours})
        self._parts = [TopicPartition(topic, number) for number in range(partitions)]
        self._at: dict[int, int] = {}
        try:
            self._ends = self._watermarks()
            self._begin()
        except BaseException:
            self._consumer.close()
            self._table.close()
            raise
        self._thread = threading.Thread(target=self._follow, name=f"lookup-{name}", daemon=True)
        self._thread.start()
        atexit.register(self._stop.set)

    def _watermarks(self) -> dict[int, int]:
        ends = {}
        for part in self._parts:
            try:
                ends[part.partition] = self._consumer.get_watermark_offsets(part, timeout=10)[1]
            except KafkaException as error:
                raise KafkaError(f"{self._topic}: {error.args[0].str()}") from None
        return ends

    def _begin(self) -> None:
        """Go on where the table is, or fill it anew where it cannot know what it missed."""
        known = {p.partition: self._table.offsets.get(self._name(p), 0) for p in self._parts}
        shorter = [number for number, end in self._ends.items() if known[number] > end]
        silent = time.time() - self._table.as_of
        if self._table.offsets and (shorter or silent > OLDEST_S):
            why = "the topic is shorter than it was"
            if not shorter:
                why = f"it was last full {silent / 3600:.0f} h ago"
            LOGGER.warning("lookup '%s' is filled anew from %s: %s", self.name, self._topic, why)
            self._table.clear()
            known = dict.fromkeys(known, 0)
        self._at = known
        self._consumer.assign(
            [
                TopicPartition(self._topic, number, offset or OFFSET_BEGINNING)
                for number, offset in known.items()
            ]
        )

    @property
    def failed(self) -> bool:
        """Whether it follows no more."""
        return self._failure is not None

    @property
    def lag(self) -> int | None:
        """How many records are not in the table yet, as far as the client has heard."""
        return self._lag

    def ready(self) -> None:
        """Wait until all is in the table that was in the topic when it was opened.

        Raises
        ------
        VerdictError
            The topic cannot be read, or nothing came of it for a minute.
        """
        while not self._full.wait(LOOK_S):
            if self._failure is not None:
                raise self._failure
            if time.monotonic() - self._progress > READY_S:
                behind = sum(max(0, end - self._at[number]) for number, end in self._ends.items())
                raise KafkaError(
                    f"lookup '{self.name}': {behind:,} records of topic '{self._topic}' are still "
                    f"to be read, and none came for {READY_S:g} s; look at the broker"
                )
        if self._failure is not None:
            raise self._failure

    def _follow(self) -> None:
        try:
            self._read()
        except Exception as error:
            failure = (
                error
                if isinstance(error, VerdictError)
                else StateError(
                    f"lookup '{self.name}' cannot follow '{self._topic}': {type(error).__name__}: "
                    f"{error}"
                )
            )
            if self._stop.is_set():
                return
            LOGGER.error("%s", failure)
            self._failure = failure
            self.get = self._gone

    def _gone(self, _key: bytes) -> bytes | None:
        """Refuse to answer: what the table says is of the past, and nobody would notice."""
        assert self._failure is not None
        raise self._failure

    def _read(self) -> None:
        consumer, read = self._consumer, 0
        at_end: set[int] = set()
        while not self._stop.is_set():
            first = consumer.poll(POLL_S)
            self._lag = self._behind()
            if first is None:
                self._noted(at_end, read)
                continue
            changes: dict[bytes, bytes | None] = {}
            moved: dict[int, int] = {}
            for record in (first, *consumer.consume(APPLY_MOST - 1, 0)):
                number = record.partition()
                error = record.error()
                if error is None:
                    self._take(record, changes)
                    moved[number] = record.offset() + 1
                    at_end.discard(number)
                elif error.code() == ClientError._PARTITION_EOF:
                    moved[number] = record.offset()
                    at_end.add(number)
                else:
                    raise KafkaError(f"reading {record.topic()}: {error.str()}")
            whole = len(at_end) == len(self._parts)
            offsets = {f"{self._topic}/{number}": offset for number, offset in moved.items()}
            self._table.apply(changes, offsets, time.time() if whole else None)
            self._at.update(moved)
            self._lag = self._behind()
            read += len(changes)
            self._progress = time.monotonic()
            self._noted(at_end, read)

    def _behind(self) -> int:
        """Count the records past the table, by what the client heard with the last it fetched.

        Of this thread alone: another one would wait until nothing is polled.
        """
        found = 0
        for part in self._parts:
            _, high = self._consumer.get_watermark_offsets(part, cached=True)
            found += max(0, high - self._at[part.partition])
        return found

    def _noted(self, at_end: set[int], read: int) -> None:
        """See whether the table is full; and while nothing comes, that it still is."""
        if not self._full.is_set():
            if all(n in at_end or self._at[n] >= end for n, end in self._ends.items()):
                if read >= COMPACT_FROM:
                    self._table.compact()
                self._table.apply({}, {}, time.time())
                self._full.set()
        elif len(at_end) == len(self._parts) and time.time() - self._table.as_of > OLDEST_S / 12:
            with contextlib.suppress(KafkaError):  # while the broker is away, who knows
                if all(self._at[n] >= end for n, end in self._watermarks().items()):
                    self._table.apply({}, {}, time.time())

    def _take(self, record: Any, changes: dict[bytes, bytes | None]) -> None:
        key, value = record.key(), record.value()
        where = f"{record.topic()}/{record.partition()}/{record.offset()}"
        while not self._stop.is_set():
            try:
                if not key:
                    raise BadRecord("lookup", "missing-key", "the record has no key")
                changes[key] = None if value is None else self._pack(value)
            except BadRecord as error:
                self._refuse(where, error)
            except RegistryError as error:
                LOGGER.warning("lookup '%s': %s\nWaiting, and asking again.", self.name, error)
                self._stop.wait(AGAIN_S)
                continue
            return

    def _name(self, part: TopicPartition) -> str:
        return f"{part.topic}/{part.partition}"

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()
        atexit.unregister(self._stop.set)
        self._consumer.close()
        self._table.close()
