"""A table that follows its topic."""

import atexit
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka import KafkaError as ClientError

from verdict.operators.errors import BadRecord
from verdict.operators.features.lookups import RowReader
from verdict.operators.names import BadKind
from verdict.pipelines.errors import KafkaError, RegistryError
from verdict.pipelines.formats.patience import Patience
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.read import watermarks
from verdict.pipelines.tables.shared import APPLY_MOST, LOGGER, Shared, claim, lock, tables
from verdict.state.errors import StateError, VerdictError

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


def followed(
    name: str, folder: Path, made_of: str, rows: RowReader, topic: str, settings: Clients
) -> "Followed":
    """Return the process's one copy of a table, followed from now on where it was not yet."""
    key = (str(folder), name, made_of)
    with lock:
        table = tables.get(key)
        if not isinstance(table, Followed) or table.failed:
            table = tables[key] = Followed(name, folder, made_of, rows, topic, settings)
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
    settings
        Settings of the clients.

    Raises
    ------
    KafkaError
        The broker does not answer, or the topic is missing.
    """

    def __init__(
        self, name: str, folder: Path, made_of: str, rows: RowReader, topic: str, settings: Clients
    ) -> None:
        partitions = require(settings, [topic])[topic]
        super().__init__(name, claim(folder, made_of))
        self._topic, self._pack = topic, rows.pack
        self._failure: VerdictError | None = None
        self._stop, self._full = threading.Event(), threading.Event()
        self._patience = Patience(LOGGER, f"lookup '{name}'", self._stop)
        self._lag: int | None = None
        self._progress = time.monotonic()
        ours = {
            "group.id": "verdict-lookup",
            "enable.partition.eof": True,
            # What a producer took back was never in the table; a lag is known to the last record.
            "isolation.level": "read_committed",
        }
        self._consumer = Consumer({**settings.consumer, **ours})
        self._parts = [TopicPartition(topic, number) for number in range(partitions)]
        self._at: dict[int, int] = {}
        try:
            self._ends = self._ends_now()
            self._begin()
        except BaseException:
            self._consumer.close()
            self._table.close()
            raise
        self._thread = threading.Thread(target=self._follow, name=f"lookup-{name}", daemon=True)
        self._thread.start()
        atexit.register(self._stop.set)

    def _ends_now(self) -> dict[int, int]:
        return {part.partition: watermarks(self._consumer, part).end for part in self._parts}

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
                if all(self._at[n] >= end for n, end in self._ends_now().items()):
                    self._table.apply({}, {}, time.time())

    def _take(self, record: Any, changes: dict[bytes, bytes | None]) -> None:
        key, value = record.key(), record.value()
        where = f"{record.topic()}/{record.partition()}/{record.offset()}"
        while not self._stop.is_set():
            try:
                if not key:
                    raise BadRecord(BadKind.MISSING_KEY, "the record has no key")
                changes[key] = None if value is None else self._pack(value)
            except BadRecord as error:
                self._refuse(where, error)
            except RegistryError as error:
                self._patience.waits(error)
                continue
            self._patience.answered()
            return

    def _name(self, part: TopicPartition) -> str:
        return f"{part.topic}/{part.partition}"

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()
        atexit.unregister(self._stop.set)
        self._consumer.close()
        self._table.close()
