"""Events of the past, through the score job's own hops, each in the order that was recorded.

Each hop takes the events of a key in the order in which it took them when they were decided. What
comes out, a `Watcher` is told.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from verdict.operators.labels.label import Label
from verdict.operators.message import NEXT, Deferred, Emit, Message
from verdict.operators.names import DEAD_LETTERS
from verdict.operators.score.carry import WITH_KEY, WITHOUT_KEY, Carry
from verdict.operators.score.hops import EntityHop
from verdict.pipelines.errors import OperatorError, safe_text
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.replay.decisions import Decisions, RecordedLookups
from verdict.pipelines.replay.gaps import Gap, Gaps
from verdict.pipelines.replay.order import NONE, PASS, Ready, Sequencer, order
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.errors import VerdictError
from verdict.state.store.dedupe import SeenState
from verdict.state.store.rocks import RocksState, RocksStore

BATCH = 256
"""Events scored at once."""


@dataclass
class Item:
    """An event on its way through the hops.

    Attributes
    ----------
    message
        It, as it was read.
    carry
        What it takes from hop to hop.
    number, decided
        Its recorded decision, and that one's number; -1 and nothing without one.
    wanted
        Without one: whether the watcher wants to know how the replay decides.
    gaps
        What each hop's history lacked when it came, where it was decided.
    """

    message: Message
    carry: Carry
    number: int
    decided: bytes
    wanted: bool
    gaps: list[Gap | None]


class Watcher(Protocol):
    """Is told what the past is, replayed; it changes nothing of it.

    Parity holds each decision against the recorded one. A counterfactual replays with another
    pipeline, of other models, rules or thresholds over the same keys: `decided` has what was done
    and what would have been. A time travel takes the features of each event out of `decided` (and
    of `alone`, if it `wants` those): they are what was known then, for every state is as it was
    when the event came.

    Decisions are in plain Avro, for `Decisions.decode`. They come in the order in which they are
    made, which is that of no partition.
    """

    def wants(self, message: Message, between: bool) -> bool:
        """Whether to decide an event that has no recorded decision, too; if so, `alone` gets it.

        The hops take it all the same. ``between`` says that one must be there: events before and
        after it have one, of a time from which none is missing.
        """

    def decided(self, item: Item, replayed: bytes) -> None:
        """Take an event with its recorded decision, and what the replay decides."""

    def alone(self, item: Item, replayed: bytes) -> None:
        """Take an event that is wanted, and that the replay alone decides."""

    def died(self, message: Message, decided: bytes, reason: str) -> None:
        """Take an event that is a dead letter in the replay; ``decided`` is empty without one.

        Without a recorded decision these are those that are wanted.
        """


@dataclass(frozen=True)
class ReplayHops:
    """The score job's own hops, over a state of their own.

    Attributes
    ----------
    pipeline
        The one that they are of.
    operators
        They themselves, in their order.
    lookups
        What the last of them takes for tables; None without any.
    store
        Of their state.
    """

    pipeline: Pipeline
    operators: Sequence[EntityHop]
    lookups: RecordedLookups | None
    store: RocksStore


@dataclass(frozen=True)
class _Hop:
    """One of them, and the order in which it takes events."""

    entity: str
    operator: EntityHop
    state: RocksState
    line: Sequencer
    gaps: Gaps


class Replay:
    """Runs events through hops in the order that their decisions recorded.

    Parameters
    ----------
    hops
        As new.
    decisions
        What was decided, which has the order; all events that are there were noted.
    watcher
        Is told what comes out.

    Attributes
    ----------
    forced
        Events that were replayed although one that should have come before them never did.
    """

    def __init__(self, hops: ReplayHops, decisions: Decisions, watcher: Watcher) -> None:
        spec = hops.pipeline.spec
        self.forced = 0
        self._decisions, self._watcher = decisions, watcher
        self._store, self._lookups = hops.store, hops.lookups
        self._hops: list[_Hop] = []
        for index, entity in enumerate(hops.pipeline.entities):
            operator = hops.operators[index]
            line = Sequencer(
                order(decisions.places[index], decisions.there, operator.horizon),
                decisions.as_read(index),
            )
            state = hops.store.keyed(f"replay/{entity}")
            gaps = Gaps(index, entity, decisions, line)
            self._hops.append(_Hop(entity, operator, state, line, gaps))
        self._last = len(self._hops) - 1
        self._seen = SeenState(spec.events.dedupe) if spec.events.dedupe else None
        self._prefix = 5 if spec.settings.output_format == "confluent" else 0
        self._letter = stream_decoder(DEAD_LETTERS, spec.settings)
        # What was looked up is set for one event at a time.
        self._defers = self._lookups is None and self._hops[-1].operator.defers
        self._deferred: list[tuple[Item, Deferred]] = []

    def take(self, item: Item) -> None:
        """Take the next event, as it was read."""
        self._arrive(0, item)
        if len(self._deferred) >= BATCH:
            self._settle()

    def take_label(self, message: Message, label: Label) -> None:
        """Take a label, before all events: one that is early changes nothing."""
        message = message._replace(value=label)
        for index, (key, hop) in enumerate(zip(label.keys, self._hops, strict=True)):
            if key is not None:
                hop.state.key = WITH_KEY + key.encode() if index else key.encode()
                hop.operator(message, hop.state)

    def refuse(
        self, message: Message, number: int, decided: bytes, wanted: bool, reason: str
    ) -> None:
        """Take an event that cannot even be decoded."""
        if number >= 0 or wanted:
            self._died(0, message, number, decided, reason)

    def commit(self) -> None:
        """Write the state of what was taken, and delete some of what is forgotten."""
        self._store.commit({})
        for hop in self._hops:
            hop.state.sweep(hop.operator.forgotten, BATCH)

    def finish(self) -> None:
        """Release what still waits: for events that were there before and are no more."""
        for index, hop in enumerate(self._hops):
            for number in hop.line.awaited():
                self.forced += 1
                self._run_all(index, hop.line.drop(number))
        self._settle()

    def _settle(self) -> None:
        """Score what waits for it."""
        if not self._deferred:
            return
        emits = self._hops[-1].operator.settle([deferred for _, deferred in self._deferred])
        for (item, _), emit in zip(self._deferred, emits, strict=True):
            self._ended(self._last, item, emit)
        self._deferred.clear()

    def _arrive(self, index: int, item: Item) -> None:
        line = self._hops[index].line
        event = item.carry.event
        key = event.keys[index]
        ready: Iterable[Ready]
        if item.number >= 0:
            ready = line.take(item.number, item)
        elif key is not None and not item.carry.repeated:
            ready = line.take_unknown(key, event.time, item)
        else:
            ready = [(item, NONE)]
        self._run_all(index, ready)

    def _run_all(self, index: int, ready: Iterable[Ready]) -> None:
        for item, hole in ready:
            if item.number >= 0 or self._goes_in(index, item, hole):
                self._run(index, item)

    def _goes_in(self, index: int, item: Item, hole: int) -> bool:
        """Whether a hop takes an event without decision now."""
        event, hop = item.carry.event, self._hops[index]
        if index == 0 and self._seen is not None:
            hop.state.key = (event.keys[0] or "").encode()
            if self._seen.open(hop.state, event.id, item.carry.raw_value or b"") is not None:
                return True  # it came before: no hop logs it
        if hole == PASS:
            # It never came here: what it would have found is looked at as a retry's, unlogged.
            item.carry = item.carry._replace(repeated=True)
            return True
        if hole != NONE and not hop.line.fill(hole, event.time):
            self._arrive(index, item)  # its number has gone to another one
            return False
        return True

    def _run(self, index: int, item: Item) -> None:
        hop, event = self._hops[index], item.carry.event
        key = event.keys[index]
        encoded = WITHOUT_KEY + event.id.encode() if key is None else key.encode()
        if key is not None and index:
            encoded = WITH_KEY + encoded
        hop.state.key = encoded
        if self._lookups is not None and index == self._last:
            known = self._decisions.decode(item.decided) if item.number >= 0 else None
            self._lookups.use(None if known is None else known["features"])
        message = item.message._replace(key=encoded, value=item.carry)
        try:
            emits = hop.operator(message, hop.state, self._defers)
        except VerdictError:
            raise
        except Exception as error:
            raise OperatorError(
                f"replaying {source_of(message)} in the hop '{hop.entity}': {safe_text(error)}; "
                "'verdict -v' shows it"
            ) from error
        if item.number >= 0 and len(item.carry.hops) == index + 1:
            item.gaps.append(hop.gaps.take(key, item.number, item.carry.hops[index], event.time))
        for emit in emits:
            self._emitted(index, item, emit)

    def _emitted(self, index: int, item: Item, emit: Emit) -> None:
        if emit.output == NEXT:
            item.carry = emit.value
            self._arrive(index + 1, item)
        elif not isinstance(emit.value, Deferred):
            self._ended(index, item, emit)
        elif item.number >= 0 or item.wanted:
            self._deferred.append((item, emit.value))

    def _ended(self, index: int, item: Item, emit: Emit) -> None:
        if item.number < 0 and not item.wanted:
            return
        if emit.output == DEAD_LETTERS:
            letter = self._letter(emit.value)
            reason = f"{letter['stage']} {letter['kind']}: {letter['reason']}"
            self._died(index + 1, item.message, item.number, item.decided, reason)
        elif item.number >= 0:
            self._watcher.decided(item, emit.value[self._prefix :])
        else:
            self._watcher.alone(item, emit.value[self._prefix :])

    def _died(
        self, following: int, message: Message, number: int, decided: bytes, reason: str
    ) -> None:
        """Tell that an event died, and let no hop behind wait for it."""
        self._watcher.died(message, decided, reason)
        if number >= 0:
            for index in range(following, len(self._hops)):
                self._run_all(index, self._hops[index].line.drop(number))


def source_of(message: Message) -> str:
    """Say where an event lies, as the header ``source`` of its decision does."""
    return f"{message.topic}/{message.partition}/{message.offset}"
