"""Live decisions beside a replay of the same events: the proof that their features are the same.

The decisions are read first, and kept by the record behind each. Then the events are read twice:
once to know which of them are there, once to go through the score job's own hops, each hop taking
the events of a key in the order that the decisions recorded.
"""

import math
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.features.lookups import Lookups
from verdict.operators.labels.label import Label
from verdict.operators.labels.read import check_key
from verdict.operators.message import NEXT, Deferred, Emit, Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS, LABELS
from verdict.operators.records import avro as out
from verdict.operators.records.decision import PRESENT
from verdict.operators.score.carry import WITH_KEY, WITHOUT_KEY, Carry
from verdict.operators.score.hops import EntityHop
from verdict.operators.score.intake import Intake
from verdict.pipelines.engines.garbage import spared
from verdict.pipelines.errors import FileError, Interrupted, OperatorError, told
from verdict.pipelines.formats.avro_file import read_bodies
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.formats.streams import definition, stream_decoder
from verdict.pipelines.jobs import score
from verdict.pipelines.jobs.label_feed import LabelFeed
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import coordinates
from verdict.pipelines.kafka.read import COMMITTED, Reader
from verdict.pipelines.parity.compare import Compare, Difference
from verdict.pipelines.parity.lost import Decided, Letters, Settled, settled, sources
from verdict.pipelines.replay.order import NONE, PASS, Gap, Places, Ready, Sequencer, order
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import SOURCE_HEADER, Stop
from verdict.state.errors import VerdictError
from verdict.state.store.dedupe import SeenState
from verdict.state.store.rocks import RocksStore

BATCH = 256
"""Events scored at once."""
COMMIT = 20_000
"""Events between two commits of the temporary stores: what is written until then is in memory."""
SHOWN = 20
"""Differences that are kept in full."""
SEVERAL = -1
NUMBER = struct.Struct(">q")
PLACE = struct.Struct(">IQ")
OCCURRENCE = struct.Struct(">I")

Told = tuple[bytes | None, bytes, int]
"""A decision: what its header ``source`` says, its bytes, and when it was put out."""

Progress = Callable[[str, int], None]
"""Told what is being read, and how many of it were."""


@dataclass
class Summary:
    """What was compared.

    Attributes
    ----------
    decisions
        Read, each event's first.
    repeats
        Further copies of them, left out.
    events
        Read.
    compared
        Events whose decision was held against its replay.
    equal
        Of them, those whose decision is equal to the last byte.
    differing
        Of them, those with a difference.
    differences
        Values that differ.
    features
        Each feature, and what else a decision says: how many values are the ``same``, how many
        ``differs``, and how many were not compared, by reason.
    without_event
        Decisions whose event is not there: retention.
    without_decision
        Events between decided ones that were not decided.
    lost
        Of them, those that the replay decides, although no dead letter of them is there. Each is a
        difference.
    before_decisions
        Events that come before the first decided one of their partition or file.
    undecided
        Events that come after the last decided one of their partition or file.
    other_pipeline
        Decisions of another pipeline, left out.
    forced
        Events that were replayed although one that should have come before them never did.
    shown
        The first differences.
    """

    decisions: int = 0
    repeats: int = 0
    events: int = 0
    compared: int = 0
    equal: int = 0
    differing: int = 0
    differences: int = 0
    without_event: int = 0
    without_decision: int = 0
    lost: int = 0
    before_decisions: int = 0
    undecided: int = 0
    other_pipeline: int = 0
    forced: int = 0
    features: dict[str, dict[str, int]] = field(default_factory=dict)
    shown: list[Difference] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        found = asdict(self)
        found["shown"] = [each.as_json() for each in self.shown]
        return found


class Recorded(Lookups):
    """Gives what was looked up when an event was decided, in the place of today's tables."""

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
        return list(self._values)


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
    """

    def __init__(
        self, store: RocksStore, pipeline: Pipeline, by_id: bool, one_by_one: bool
    ) -> None:
        self._one_by_one = one_by_one
        self._store = store
        self._pipeline = pipeline
        self.by_id = by_id
        self.decode = stream_decoder(DECISIONS, _plain(pipeline))
        self.places = [Places() for _ in pipeline.entities]
        self.when = array("q")
        """By number, when each decision was put out."""
        self.there = bytearray()
        self._lines: list[dict[int, int]] = [{} for _ in pipeline.entities]
        """Hash of a key -> the partition of its event without decision; `SEVERAL` if the order of
        several is not known."""

    def read(self, found: Iterator[Told], summary: Summary) -> None:
        """Take decisions with their sources."""
        name = self._pipeline.spec.pipeline
        topic = self._pipeline.spec.events.topic
        for read, (source, value, when) in enumerate(found, 1):
            try:
                decision = self.decode(value)
            except BadRecord as error:
                where = (
                    "" if source is None else f" of {source.decode('utf-8', 'backslashreplace')}"
                )
                raise FileError(
                    f"the decision{where}, number {read}, cannot be read: {error}; is "
                    "settings.output_format what it was?"
                ) from None
            if decision["pipeline"] != name:
                summary.other_pipeline += 1
                continue
            key = self._key(decision, source, topic)
            if key is None:
                summary.repeats += 1
                continue
            self._store.put(key, NUMBER.pack(summary.decisions) + value)
            summary.decisions += 1
            self.when.append(when)
            self._place(decision, source, when)
            if read % COMMIT == 0:
                self._store.commit({})
        self._store.commit({})
        self.there = bytearray(summary.decisions)

    def _key(
        self, decision: dict[str, Any], source: bytes | None, topic: str | None
    ) -> bytes | None:
        """Return under which key to keep a decision; None if its event has one."""
        if source is not None:
            at = coordinates(source.decode("utf-8", "backslashreplace"))
            key = b"s" + PLACE.pack(at.partition, at.offset)
            if at.topic != topic:
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

    def _place(self, decision: dict[str, Any], source: bytes | None, when: int) -> None:
        hops = {hop["entity"]: hop for hop in decision["hops"]}
        time, repeated = decision["event_time"], decision["repeated"]
        for index, entity in enumerate(self._pipeline.entities):
            at = when
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


def _by_id(event_id: str, occurrence: int) -> bytes:
    return b"i" + event_id.encode("utf-8", "surrogatepass") + OCCURRENCE.pack(occurrence)


def _numbered(value: bytes | None) -> tuple[int, bytes]:
    if value is None:
        return -1, b""
    return NUMBER.unpack_from(value)[0], value[NUMBER.size :]


def _plain(pipeline: Pipeline) -> Any:
    return pipeline.spec.settings.model_copy(update={"output_format": "avro"})


@dataclass
class Item:
    """An event on its way through the hops.

    ``number`` is its decision's, -1 without one; then ``missing`` says that one must be there.
    """

    message: Message
    carry: Carry
    number: int
    decided: bytes
    gaps: list[Gap | None]
    missing: bool = False


class Replay:
    """Runs events through the score job's hops in the recorded order, and compares what comes out.

    Parameters
    ----------
    pipeline
        Whose hops.
    hops
        They themselves.
    recorded
        What the last of them takes for tables.
    decisions
        What was decided.
    store
        Of the hops' state.
    summary
        Counts.
    shown
        Differences to keep.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        hops: Sequence[EntityHop],
        recorded: "Recorded | None",
        decisions: Decisions,
        store: RocksStore,
        summary: Summary,
        shown: int,
    ) -> None:
        self._known = decisions
        self.summary = summary
        self._shown = shown
        self.compare = Compare(pipeline)
        self._store = store
        self._recorded, self._hops = recorded, hops
        self._states = [store.keyed(f"parity/{entity}") for entity in pipeline.entities]
        self._names = pipeline.entities
        dedupe = pipeline.spec.events.dedupe
        self._seen = SeenState(dedupe) if dedupe else None
        self._lines = [
            Sequencer(order(places, decisions.there, hop.horizon), decisions.as_read(index))
            for index, (places, hop) in enumerate(zip(decisions.places, hops, strict=True))
        ]
        self._gaps: list[dict[str, Gap]] = [{} for _ in self._lines]
        self._prefix = 5 if pipeline.spec.settings.output_format == "confluent" else 0
        self._letter = stream_decoder(DEAD_LETTERS, pipeline.spec.settings)
        last = self._hops[-1]
        # What was looked up is set for one event at a time.
        self._defers = self._recorded is None and last.defers
        self._deferred: list[tuple[Item, Deferred]] = []

    @property
    def held(self) -> int:
        """How many events wait for others."""
        return sum(line.held for line in self._lines)

    def take(
        self, message: Message, carry: Carry, number: int, decided: bytes, missing: bool
    ) -> None:
        """Take the next event, as it was read."""
        self._arrive(0, Item(message, carry, number, decided, [], missing))
        if len(self._deferred) >= BATCH:
            self.settle()

    def label(self, message: Message, label: Label) -> None:
        """Take a label, before all events: one that is early changes nothing."""
        message = message._replace(value=label)
        for index, (key, hop, state) in enumerate(
            zip(label.keys, self._hops, self._states, strict=True)
        ):
            if key is not None:
                state.key = WITH_KEY + key.encode() if index else key.encode()
                hop(message, state)

    def refused(self, message: Message, number: int, decided: bytes, reason: str) -> None:
        """Take an event that cannot even be decoded."""
        if number >= 0:
            self._died(0, number, decided, message, reason)

    def gone(self, number: int) -> None:
        """Wait for an event no more."""
        self._drop(0, number)

    def finish(self) -> None:
        """Release what still waits: for events that were there before and are no more."""
        for index, line in enumerate(self._lines):
            for number in line.awaited():
                self.summary.forced += 1
                self._go(index, line.drop(number))
        self.settle()

    def settle(self) -> None:
        """Score what waits for it."""
        if not self._deferred:
            return
        emits = self._hops[-1].settle([deferred for _, deferred in self._deferred])
        for (item, _), emit in zip(self._deferred, emits, strict=True):
            self._ended(len(self._hops) - 1, item, emit)
        self._deferred.clear()

    def commit(self) -> None:
        """Write the state of what was taken, and delete some of what is forgotten."""
        self._store.commit({})
        for hop, state in zip(self._hops, self._states, strict=True):
            state.sweep(hop.forgotten, BATCH)

    def _arrive(self, index: int, item: Item) -> None:
        line = self._lines[index]
        key = item.carry.event.keys[index]
        if item.number >= 0:
            ready = line.take(item.number, item)
        elif key is not None and not item.carry.repeated:
            ready = line.take_unknown(key, item.carry.event.time, item)
        else:
            ready = iter([(item, NONE)])
        self._go(index, ready)

    def _go(self, index: int, ready: Iterator[Ready]) -> None:
        for item, hole in ready:
            if item.number >= 0 or self._goes_in(index, item, hole):
                self._process(index, item)

    def _goes_in(self, index: int, item: Item, hole: int) -> bool:
        """Whether a hop takes an event without decision now."""
        event, state = item.carry.event, self._states[index]
        if index == 0 and self._seen is not None:
            state.key = (event.keys[0] or "").encode()
            if self._seen.open(state, event.id, item.carry.raw_value or b"") is not None:
                return True  # it came before: no hop logs it
        if hole == PASS:
            # It never came here: what it would have found is looked at as a retry's, unlogged.
            item.carry = item.carry._replace(repeated=True)
            return True
        if hole != NONE and not self._lines[index].fill(hole, event.time):
            self._arrive(index, item)  # its number has gone to another one
            return False
        return True

    def _process(self, index: int, item: Item) -> None:
        event = item.carry.event
        key = event.keys[index]
        encoded = WITHOUT_KEY + event.id.encode() if key is None else key.encode()
        if key is not None and index:
            encoded = WITH_KEY + encoded
        state, hop = self._states[index], self._hops[index]
        state.key = encoded
        if self._recorded is not None and index == len(self._hops) - 1:
            features = None
            if item.number >= 0:
                features = self._known.decode(item.decided)["features"]
            self._recorded.use(features)
        message = item.message._replace(key=encoded, value=item.carry)
        try:
            emits = hop(message, state, self._defers)
        except VerdictError:
            raise
        except Exception as error:
            where = f"{message.topic}/{message.partition}/{message.offset}"
            name = self._names[index]
            raise OperatorError(
                f"replaying {where} in the hop '{name}': {told(error)}; 'verdict -v' shows it"
            ) from error
        if item.number >= 0 and len(item.carry.hops) == index + 1:
            item.gaps.append(self._gap(index, item, key))
        for emit in emits:
            self._emitted(index, item, emit)

    def _emitted(self, index: int, item: Item, emit: Emit) -> None:
        if emit.output == NEXT:
            item.carry = emit.value
            self._arrive(index + 1, item)
        elif isinstance(emit.value, Deferred):
            if item.number >= 0 or item.missing:
                self._deferred.append((item, emit.value))
        else:
            self._ended(index, item, emit)

    def _ended(self, index: int, item: Item, emit: Emit) -> None:
        if emit.output == DEAD_LETTERS:
            letter = self._letter(emit.value)
            reason = f"{letter['stage']} {letter['kind']}: {letter['reason']}"
            self._died(index + 1, item.number, item.decided, item.message, reason)
        elif item.number >= 0:
            self._compared(item, emit.value[self._prefix :])
        elif item.missing:
            self.summary.lost += 1
            made = self._known.decode(emit.value[self._prefix :])
            self._show([self.compare.lost(made, _source(item.message))])

    def _compared(self, item: Item, made: bytes) -> None:
        summary = self.summary
        summary.compared += 1
        if made == item.decided:
            self.compare.equal += 1
            summary.equal += 1
            return
        decode = self._known.decode
        source = _source(item.message)
        guessed = [
            key is not None and not line.as_read and self._known.guessed(index, key)
            for index, (line, key) in enumerate(
                zip(self._lines, item.carry.event.keys, strict=True)
            )
        ]
        self._note(self.compare(decode(item.decided), decode(made), item.gaps, source, guessed))

    def _died(
        self, following: int, number: int, decided: bytes, message: Message, reason: str
    ) -> None:
        if number < 0:
            return
        self.summary.compared += 1
        decision = self._known.decode(decided)
        self._note([self.compare.died(decision, _source(message), reason)])
        self._drop(following, number)

    def _note(self, found: Sequence[Difference]) -> None:
        self.summary.differing += bool(found)
        self._show(found)

    def _show(self, found: Sequence[Difference]) -> None:
        summary = self.summary
        summary.differences += len(found)
        summary.shown += found[: max(0, self._shown - len(summary.shown))]

    def _drop(self, following: int, number: int) -> None:
        for index in range(following, len(self._lines)):
            self._go(index, self._lines[index].drop(number))

    def _gap(self, index: int, item: Item, key: str | None) -> Gap | None:
        """Return what a key's history lacks, now that the hop has taken an event."""
        if key is None:
            return None
        gaps, line, known, number = self._gaps[index], self._lines[index], self._known, item.number
        unsure = known.unsure(index, key)
        hole = line.hole(number)
        if hole is not None and hole.begins:
            gaps.pop(key, None)
        if (hole is not None and hole.missing) or known.guessed(index, key):
            seq = _seq(item.carry.hops[index], self._names[index], key)
            missing = known.places[index].seqs[number] - seq
            before = gaps.get(key)
            guess = False
            if hole is not None and hole.missing and not line.as_read:
                guess = unsure if hole.filled else hole.begins
            if guess or missing != (before.missing if before else 0):
                gaps[key] = Gap(missing, None)
        gap = gaps.get(key)
        if gap is None or gap.since is not None or known.places[index].late[number]:
            return gap
        if line.as_read or not (unsure and line.lacks(key)):
            gap = gaps[key] = Gap(gap.missing, item.carry.event.time)
        return gap


def _seq(trace: bytes, entity: str, key: str) -> int:
    """Read the number of an event out of what a hop says of itself in a decision.

    >>> from verdict.operators.records.decision import hop_encoder
    >>> _seq(hop_encoder("card", [])("c1", 300, False, ()), "card", "c1")
    300
    """
    at = len(out.text(entity)) + len(out.text(key)) + 2 * len(PRESENT)
    number = shift = 0
    while True:
        byte = trace[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1  # never negative, so zigzag is twice as much
        at, shift = at + 1, shift + 7


def _at(message: Message, one_line: bool) -> tuple[int, tuple[int, int]]:
    """Return the line of events that one belongs to, and its place in it."""
    if one_line:
        return 0, (message.partition, message.offset)
    return message.partition, (0, message.offset)


def _source(message: Message) -> str:
    return f"{message.topic}/{message.partition}/{message.offset}"


def _recorded(pipeline: Pipeline) -> Recorded | None:
    if not pipeline.spec.lookups:
        return None
    from verdict.pipelines.tables.place import names

    found = names(pipeline)
    defaults = [getattr(pipeline.spec.features[name], "default", None) for name in found]
    return Recorded(found, defaults) if found else None


def check(
    pipeline: Pipeline,
    events: Sequence[Path] | None,
    decisions: Sequence[Path] | None,
    labels: Sequence[Path] | None = None,
    *,
    stop: Stop,
    shown: int = SHOWN,
    progress: Progress | None = None,
) -> Summary:
    """Compare a pipeline's decisions with a replay of their events.

    Parameters
    ----------
    pipeline
        As it was when it decided; its champion is loaded.
    events, decisions
        Files, the first one first; None reads the topic up to its end now.
    labels
        Files, where the events come from files; None for those that the pipeline file names.
    stop
        Ends the run.
    shown
        Differences to keep in full; the others are counted.
    progress
        Told of what is read.

    Raises
    ------
    Interrupted
        It was stopped: nothing is known.
    FileError
        A file cannot be read, or is none of decisions.
    KafkaError
        The broker does not answer, or a topic is missing.
    """
    if events is not None:
        pipeline = over(pipeline, events, labels)
    tell = progress or (lambda _what, _read: None)
    whole = settled(pipeline) if decisions is None else Settled()
    return compare(
        pipeline,
        _counted(_decisions(pipeline, decisions, stop, whole), DECISIONS, tell),
        lambda: _counted(_events(pipeline, events, stop), EVENTS, tell),
        lambda: _counted(_labels(pipeline, events, stop), LABELS, tell),
        lambda: _counted(sources(pipeline, decisions, stop), DEAD_LETTERS, tell),
        by_id=events is not None or decisions is not None,
        one_by_one=decisions is not None,  # the embedded engine alone writes files
        whole=whole,
        stop=stop,
        shown=shown,
    )


def compare(
    pipeline: Pipeline,
    decisions: Iterator[Told],
    events: Callable[[], Iterator[Message]],
    labels: Callable[[], Iterator[Message]] = lambda: iter(()),
    letters: Callable[[], Iterator[str]] = lambda: iter(()),
    *,
    by_id: bool,
    one_by_one: bool = False,
    whole: Settled | None = None,
    stop: Stop,
    shown: int = SHOWN,
) -> Summary:
    """Compare decisions with a replay of events, wherever the two come from.

    Parameters
    ----------
    pipeline
        Over a topic, or over files.
    decisions
        Encoded, each with the value of its header ``source`` if it has one.
    events
        Reads the events from their start; called twice.
    labels
        Reads the labels.
    letters
        Reads where the records lie that are dead letters of the job; called if that matters.
    by_id
        Events and decisions belong together by id and time, not by source.
    one_by_one
        As of `Decisions`.
    whole
        The time in which none of the decisions is missing, once they are read; None for ever.
    stop, shown
        As of `check`.
    """
    summary = Summary()
    from_files = pipeline.spec.events.topic is None
    with tempfile.TemporaryDirectory(prefix="verdict-parity-") as folder, spared():
        index, state = RocksStore(Path(folder) / "decisions"), RocksStore(Path(folder) / "state")
        with closing(index), closing(state):
            known = Decisions(index, pipeline, by_id, one_by_one)
            known.read(decisions, summary)
            _halt(stop)
            recorded = _recorded(pipeline)
            intake, hops = score.replay(pipeline, recorded)
            decided = _survey(events(), intake, known, whole or Settled(), from_files)
            _halt(stop)
            dead = Letters(index)
            if decided.missed:
                dead.read(letters(), COMMIT)
                _halt(stop)
            summary.without_event = summary.decisions - sum(known.there)
            replay = Replay(pipeline, hops, recorded, known, state, summary, shown)
            _feed(labels(), pipeline, replay)
            _replay(events(), intake, known, replay, decided, dead, from_files)
            _halt(stop)
    summary.features = replay.compare.counts()
    return summary


def _feed(labels: Iterator[Message], pipeline: Pipeline, replay: Replay) -> None:
    stream = pipeline.labels_input
    if stream is None:
        return
    read = score.input_label_reader(pipeline, stream)
    for number, message in enumerate(labels, 1):
        label = message.value
        if not isinstance(label, Label):
            try:
                label = read(label)
                if pipeline.keyed:
                    check_key(message.key, label)
            except BadRecord:
                continue  # a dead letter in its time
        replay.label(message, label)
        if number % COMMIT == 0:
            replay.commit()


def _halt(stop: Stop) -> None:
    if stop.is_set():
        raise Interrupted("stopped before the end: nothing is known of the rest")


def _survey(
    events: Iterator[Message], intake: Intake, known: Decisions, whole: Settled, one_line: bool
) -> Decided:
    """Note which events are there; return how far they were decided."""
    decided = Decided()
    for message in events:
        event = _event(intake, message) if known.by_id else None
        number, _ = known.find(message, event, known.there)
        line, at = _at(message, one_line)
        decided.take(line, at, number >= 0, number >= 0 and whole.holds(known.when[number]))
        if number >= 0:
            known.there[number] = 1
            continue
        event = event or _event(intake, message)
        if event is not None:
            known.note(event, line)
    return decided


def _event(intake: Intake, message: Message) -> Event | None:
    try:
        return intake(message).event
    except BadRecord:
        return None


def _replay(
    events: Iterator[Message],
    intake: Intake,
    known: Decisions,
    replay: Replay,
    decided: Decided,
    dead: Letters,
    one_line: bool,
) -> None:
    summary = replay.summary
    taken = bytearray(len(known.there))
    for message in events:
        summary.events += 1
        line, at = _at(message, one_line)
        if decided.ended(line, at):
            summary.undecided += 1
            continue
        carry, reason = None, ""
        try:
            carry = intake(message)
        except BadRecord as error:
            reason = f"{error.stage} {error.kind}: {error}"
        number, value = known.find(message, carry.event if carry else None, taken)
        missing = False
        if number >= 0:
            taken[number] = 1
        elif decided.begun(line, at):
            summary.without_decision += 1
            missing = decided.missing(line, at) and _source(message) not in dead
        else:
            summary.before_decisions += 1
        if carry is None:
            replay.refused(message, number, value, reason)
        else:
            replay.take(message, carry, number, value, missing)
        if summary.events % COMMIT == 0:
            replay.commit()
    replay.finish()


def _counted(found: Iterator[Any], what: str, tell: Progress) -> Iterator[Any]:
    for number, each in enumerate(found, 1):
        yield each
        if number % 1_000 == 0:
            tell(what, number)


def _decisions(
    pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop, whole: Settled
) -> Iterator[Told]:
    """Yield every decision and the source that its header names, without Confluent's header."""
    if files is not None:
        bodies = chain.from_iterable(read_bodies(file, definition(DECISIONS)) for file in files)
        for number, value in enumerate(bodies):
            if stop.is_set():
                return
            yield None, value, number
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
            yield source, record.value()[prefix:], record.timestamp()[1]


def _events(pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop) -> Iterator[Message]:
    if files is not None:
        for message in read_events(files, pipeline.schema, EVENTS):
            if stop.is_set():
                return
            yield message
        return
    topic = pipeline.topics[EVENTS]
    for record in _topic(pipeline, topic, stop, None):
        yield Message(
            EVENTS,
            record.key(),
            record.value(),
            topic,
            record.partition(),
            record.offset(),
            record.timestamp()[1],
        )


def _labels(pipeline: Pipeline, files: Sequence[Path] | None, stop: Stop) -> Iterator[Message]:
    stream = pipeline.labels_input
    if stream is None:
        return
    if files is not None:
        feed = LabelFeed(pipeline, pipeline.label_files())
        events = read_events(files, pipeline.schema, EVENTS)
        for message in chain.from_iterable(feed.groups(events)):
            if stop.is_set():
                return
            if message.stream == LABELS:
                yield message
        yield from feed.rest()
        return
    topic = pipeline.topics[stream]
    for record in _topic(pipeline, topic, stop, COMMITTED):
        at = record.partition(), record.offset(), record.timestamp()[1]
        yield Message(stream, record.key(), record.value(), topic, *at)


def _topic(pipeline: Pipeline, topic: str, stop: Stop, isolation: str | None) -> Iterator[Any]:
    """Read a topic up to where it ends now."""
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    with Reader(settings, "verdict-parity", isolation) as reader:
        yield from reader.read(topic, stop=stop)
