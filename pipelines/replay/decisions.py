"""Recorded decisions, found again by the event that they are of."""

import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.features.lookups import Lookups
from verdict.operators.message import Message
from verdict.operators.names import DECISIONS
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.coordinates import coordinates
from verdict.pipelines.replay.order import Places
from verdict.pipelines.replay.sources import Recorded
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.tables.place import names
from verdict.state.store.rocks import RocksStore

COMMIT = 20_000
"""Records between two commits of the temporary store: what is written until then is in memory."""
SEVERAL = -1
NUMBER = struct.Struct(">q")
PLACE = struct.Struct(">IQ")
OCCURRENCE = struct.Struct(">I")


class Decisions:
    """The first decision of each event, in a temporary store, by the record behind it.

    Parameters
    ----------
    store
        Takes them.
    pipeline
        Whose decisions.
    by_id
        Events are known by their ids and times: one of the two comes from files, which have no
        coordinates of Kafka's.
    one_by_one
        They were decided by one process, which takes one event after the other through all hops.

    Attributes
    ----------
    count
        How many there are; each has a number, in the order in which they were read.
    repeats
        Further copies of them, left out.
    other_pipeline
        Those of another pipeline, left out.
    places
        What each hop says of every one.
    times
        By number, when each was put out, as `Recorded.at`.
    there
        By number, whether its event is there to be replayed.
    """

    def __init__(
        self, store: RocksStore, pipeline: Pipeline, by_id: bool, one_by_one: bool
    ) -> None:
        self._one_by_one = one_by_one
        self._store = store
        self._pipeline = pipeline
        self.by_id = by_id
        plain = pipeline.spec.settings.model_copy(update={"output_format": "avro"})
        self.decode = stream_decoder(DECISIONS, plain)
        self.places = [Places() for _ in pipeline.entities]
        self.times = array("q")
        self.there = bytearray()
        self.count = self.repeats = self.other_pipeline = 0
        self._lines: list[dict[int, int]] = [{} for _ in pipeline.entities]
        """Hash of a key -> the partition of its event without decision; `SEVERAL` if the order of
        several is not known."""

    def read(self, decisions: Iterable[Recorded]) -> None:
        """Take all decisions.

        Raises
        ------
        FileError
            One of them cannot be read.
        """
        for read, recorded in enumerate(decisions, 1):
            try:
                decision = self.decode(recorded.value)
            except BadRecord as error:
                raise FileError(
                    f"the decision{_of(recorded.source)}, number {read}, cannot be read: {error}; "
                    "is settings.output_format what it was?"
                ) from None
            self._take(decision, recorded)
            if read % COMMIT == 0:
                self._store.commit({})
        self._store.commit({})
        self.there = bytearray(self.count)

    def _take(self, decision: dict[str, Any], recorded: Recorded) -> None:
        if decision["pipeline"] != self._pipeline.spec.pipeline:
            self.other_pipeline += 1
            return
        key = self._key(decision, recorded.source)
        if key is None:
            self.repeats += 1
            return
        self._store.put(key, NUMBER.pack(self.count) + recorded.value)
        self.count += 1
        self.times.append(recorded.at)
        self._place(decision, recorded.source, recorded.at)

    def _key(self, decision: dict[str, Any], source: bytes | None) -> bytes | None:
        """Return under which key to keep a decision; None if its event has one."""
        if source is not None:
            at = coordinates(source.decode("utf-8", "backslashreplace"))
            key = b"s" + PLACE.pack(at.partition, at.offset)
            if at.topic != self._pipeline.spec.events.topic:
                key += at.topic.encode()
            if self._store.get(key) is not None:
                return None
            if not self.by_id:
                return key
            self._store.put(key, b"")
        for number in count():
            key = _by_id(decision["event_id"], number)
            if self._store.get(key) is None:
                return key
        raise AssertionError

    def _place(self, decision: dict[str, Any], source: bytes | None, put_out: int) -> None:
        hops = {hop["entity"]: hop for hop in decision["hops"]}
        time, repeated = decision["event_time"], decision["repeated"]
        for index, entity in enumerate(self._pipeline.entities):
            at = put_out
            if index == 0 and source is not None and self._pipeline.keyed:
                at = int(source.rpartition(b"/")[2])  # a key has one partition
            hop = hops.get(entity)
            if hop is None:
                self.places[index].add(None, None, time)
            else:
                late, seq = hop["late"], hop["hop_seq"]
                self.places[index].add(hop["key"], seq, time, late, repeated, at)

    def note(self, event: Event, line: int) -> None:
        """Note an event without decision, and its partition."""
        for index, (lines, key) in enumerate(zip(self._lines, event.keys, strict=True)):
            if key is None:
                continue
            # Behind the first hop one may have overtaken another, unless one process did it all.
            mixes = index > 0 and not self._one_by_one
            if hash(key) not in lines:
                lines[hash(key)] = line
            elif lines[hash(key)] != line or mixes:
                lines[hash(key)] = SEVERAL

    def guesses(self, keys: Sequence[str | None]) -> list[bool]:
        """Return, hop by hop, whether the place of an event of such keys is a guess."""
        return [
            key is not None and not self.as_read(index) and self.guessed(index, key)
            for index, key in enumerate(keys)
        ]

    def as_read(self, index: int) -> bool:
        """Whether a hop took the events as they are read."""
        return self._one_by_one or (index == 0 and self._pipeline.keyed and not self.by_id)

    def guessed(self, index: int, key: str) -> bool:
        """Whether a key has events without decision, of which nobody knows the number."""
        return hash(key) in self._lines[index]

    def unsure(self, index: int, key: str) -> bool:
        """Whether the order of a key's events without decision is not known."""
        return self._lines[index].get(hash(key)) == SEVERAL

    def find(self, message: Message, event: Event | None, taken: bytearray) -> tuple[int, bytes]:
        """Find an event's decision and its number; -1 without."""
        if not self.by_id:
            value = self._store.get(b"s" + PLACE.pack(message.partition, message.offset))
            return _numbered(value)
        if event is None:
            return -1, b""
        for occurrence in count():
            number, value = _numbered(self._store.get(_by_id(event.id, occurrence)))
            if number < 0:
                return -1, b""
            if not taken[number] and self.places[0].times[number] == event.time:
                return number, value
        raise AssertionError


def _of(source: bytes | None) -> str:
    return "" if source is None else f" of {source.decode('utf-8', 'backslashreplace')}"


def _by_id(event_id: str, occurrence: int) -> bytes:
    return b"i" + event_id.encode("utf-8", "surrogatepass") + OCCURRENCE.pack(occurrence)


def _numbered(value: bytes | None) -> tuple[int, bytes]:
    if value is None:
        return -1, b""
    return NUMBER.unpack_from(value)[0], value[NUMBER.size :]


class RecordedLookups(Lookups):
    """Gives what was looked up when an event was decided, in the place of today's tables.

    Parameters
    ----------
    names
        Of the features that are looked up.
    defaults
        Of each, what it has without a row.
    """

    def __init__(self, names: Sequence[str], defaults: Sequence[float | None]) -> None:
        super().__init__([])
        self.names = list(names)
        self._defaults = list(defaults)
        self._values = self._defaults

    def use(self, features: dict[str, float] | None) -> None:
        """Take a decision's features; None for an event without one."""
        if features is None:
            self._values = self._defaults
            return
        self._values = [
            # NaN stands for what had no value, unless it is the default.
            default if math.isnan(value := features.get(name, math.nan)) else value
            for name, default in zip(self.names, self._defaults, strict=True)
        ]

    def __call__(self, event: Event) -> list[float | None]:
        """Return what was looked up for the event."""
        return list(self._values)


def recorded_lookups(pipeline: Pipeline) -> RecordedLookups | None:
    """Make what stands in the place of a pipeline's tables; None if it has none."""
    if not pipeline.spec.lookups:
        return None
    looked_up = names(pipeline)
    defaults = [getattr(pipeline.spec.features[name], "default", None) for name in looked_up]
    return RecordedLookups(looked_up, defaults) if looked_up else None
