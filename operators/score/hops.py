"""The score job's operators: decode, an entity's hop, and the decision at the end of the last.

Between hops a `Carry` travels: what the record was, what is known of it so far.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

from verdict.operators.errors import BadRecord
from verdict.operators.events.decode import Decode, Event, Extract
from verdict.operators.expressions import Variable
from verdict.operators.features.lookups import Lookups, Table
from verdict.operators.features.windowed import EntityFeatures, Formulas
from verdict.operators.message import NEXT, Emit, Message, new
from verdict.operators.meter import Meter
from verdict.operators.models.bundle import Bundle, Card, Scored
from verdict.operators.policy.decide import SCORE, Decide, Verdict
from verdict.operators.records import avro as out
from verdict.operators.records.streams import (
    DEAD_LETTERS,
    DECISIONS,
    NO_MONEY,
    PRESENT,
    TOMBSTONE,
    Encode,
    amount_bytes,
    dead_letter,
    hop_encoder,
    no_hop,
)
from verdict.state.store.dedupe import SeenState, without_ids
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.layout import newest
from verdict.state.windows.values import NEVER

WITH_KEY, WITHOUT_KEY = b"k", b"-"
"""First byte of a later hop's key. An event without the entity gets a key of its own that no state
is ever kept for, so there is no hot key of the missing."""

JOB = "score"
ROWS = "rows"
"""The output of a backfill: a `Row` for each event."""

MAX_NAME = 1_024
"""Most bytes of an event's id, and of each of its keys: they stand in every output."""
MAX_TEXT = 65_536
"""Most bytes of an event's texts that the pipeline reads, together: the decision repeats those that
rules read, and must not outgrow what Kafka takes."""
SHORT = MAX_NAME // 2
"""A record of so few bytes holds no text too large, even if it is JSON in UTF-16."""

SURE = 20
"""Events in a row that have to agree that a time has come before anything is deleted for it."""
LATEST = (1 << 63) - 1
SECONDS_BEFORE, NEAR_S = 100_000_000_000, 10 * 366 * 86_400
"""A time below the first (of March 1973, in milliseconds) that is within ten years of its record's
timestamp when taken for seconds was meant so."""


class Carry(NamedTuple):
    """What travels between hops.

    ``features`` has those known so far, in the order of the hops, None where one has no value;
    ``hops`` is what each hop says of itself in the decision, encoded; in a backfill, its key;
    ``repeated`` says that the producer sent the event again, so that no hop logs it.
    """

    event: Event
    implausible: list[str]
    features: list[float | None]
    hops: list[Any]
    raw_key: bytes | None
    raw_value: bytes | None
    repeated: bool = False


@dataclass(frozen=True)
class Plausible:
    """What values of a field are plausible; ``dead``: an event with another is a dead letter."""

    path: str
    low: float | None
    high: float | None
    allowed: frozenset[Any] | None
    dead: bool

    def holds(self, value: Any) -> bool:
        """Whether a value is plausible. Null is: whether a field may be null is the schema's."""
        if value is None:
            return True
        if self.allowed is not None and value not in self.allowed:
            return False
        if self.low is not None and value < self.low:
            return False
        return self.high is None or value <= self.high


class Intake:
    """From a raw record to a `Carry`: decode, extract, check.

    Parameters
    ----------
    decode
        Bytes to record.
    extract
        Record to event.
    checks
        What is plausible.
    keyed
        The topic's message key is the first entity's key, so the two must be equal.
    max_ahead
        Milliseconds that an event's time may lie after its record's timestamp.
    """

    def __init__(
        self,
        decode: Decode,
        extract: Extract,
        checks: Sequence[Plausible],
        keyed: bool,
        max_ahead: int,
    ) -> None:
        self._decode = decode
        self._extract = extract
        self._checks = checks
        self._keyed = keyed
        self._max_ahead = max_ahead

    def __call__(self, message: Message) -> Carry:
        value = message.value
        if not value:
            if value is None:
                raise BadRecord("decode", "tombstone", TOMBSTONE)
            raise BadRecord("decode", "empty", "the record's value is empty")
        event = self._extract(self._decode(value))
        if len(value) > SHORT:
            _check_sizes(event)
        if self._keyed and message.key != (event.keys[0] or "").encode():
            raise BadRecord(
                "validate",
                "key-mismatch",
                "the record's key is not its event's: mend the producer, or drop events.keyed_by",
            )
        if message.timestamp >= 0:
            self._check_time(event.time, message.timestamp)
        implausible = []
        for check in self._checks:
            found = event.fields[check.path]
            if not check.holds(found):
                if check.dead:
                    raise BadRecord(
                        "validate", "implausible", f"field '{check.path}' is implausible: {found!r}"
                    )
                implausible.append(check.path)
        return new(Carry, (event, implausible, [], [], message.key, value, False))

    def _check_time(self, time: int, timestamp: int) -> None:
        """Refuse a time that would poison its entity: every later event would be late."""
        if time > timestamp + self._max_ahead:
            raise BadRecord(
                "validate",
                "ahead",
                f"the event's time lies {time - timestamp:,} ms after its record's timestamp; "
                "mend the producer's clock, or raise events.max_ahead",
            )
        if 0 < time < SECONDS_BEFORE and abs(time - timestamp // 1000) < NEAR_S:
            raise BadRecord(
                "validate",
                "time-in-seconds",
                f"the event's time, {time}, is in seconds: verdict reads milliseconds",
            )


def _check_sizes(event: Event) -> None:
    """Refuse an event whose decision Kafka might not take: the stream would end there."""
    for number, name in enumerate((event.id, *event.keys)):
        size = 0 if name is None else len(name.encode())
        if size > MAX_NAME:
            what = f"key {number}" if number else "id"
            raise BadRecord(
                "validate",
                "too-large",
                f"the event's {what} has {size:,} bytes; {MAX_NAME:,} at most: mend the producer",
            )
    texts = {path: len(value.encode()) for path, value in event.fields.items() if _is_text(value)}
    if sum(texts.values()) > MAX_TEXT:
        longest = max(texts, key=texts.__getitem__)
        raise BadRecord(
            "validate",
            "too-large",
            f"field '{longest}' has {texts[longest]:,} bytes; the texts that the pipeline reads "
            f"may have {MAX_TEXT:,} together: mend the producer",
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


class Finish:
    """From a `Carry` with every aggregate to the encoded decision.

    Parameters
    ----------
    formulas
        The features that need no state.
    bundle
        The champion.
    decide
        The policy.
    money
        Takes amount and currency out of an event; None where the pipeline names none.
    encode
        Encodes a decision, or keeps it as a `Row`; its features come in the order of ``names``.
    names
        Every feature's name in the order in which it becomes known: those of each hop, those that
        are looked up, then those of the event alone.
    order
        The same in the order of the record.
    field
        What stands for a field in Python over ``fields``.
    lookups
        The features that stand in tables, known after the hops'; None where there are none.
    """

    output = DECISIONS

    def __init__(
        self,
        formulas: Formulas,
        bundle: Bundle,
        decide: Decide,
        money: "Money | None",
        encode: Callable[..., Any],
        names: Sequence[str],
        order: Sequence[str],
        field: Callable[[str], Variable],
        lookups: Lookups | None = None,
    ) -> None:
        self._formulas = formulas
        self.lookups = lookups
        self._bundle = bundle
        self._decide = decide
        self._money = money
        self._encode = encode
        self._names = names
        self._order = order
        self._inputs = _taker(names, bundle.card.features)

        def variable(name: str) -> Variable:
            if name == SCORE:
                return Variable("score", True)
            if name in names:  # of an event that is scored, each has a value
                return Variable(f"features[{names.index(name)}]", True)
            return field(name)

        self._judge = decide.over("features, fields", variable)

    def __call__(self, carry: Carry, meter: Meter, timed: bool) -> Any:
        if self.lookups is not None:
            carry.features.extend(self.lookups(carry.event))
            if timed:
                meter.lap("lookups")
        carry.features.extend(self._formulas(carry.event.fields, carry.features))
        if timed:
            meter.lap("formulas")
        scored = self._bundle(self._inputs(carry.features)) if self._is_scored(carry) else None
        if timed:
            meter.lap("score")
        return self._concluded(carry, scored, meter, timed)

    def many(self, carries: Sequence[Carry], meter: Meter) -> list[Any | BadRecord]:
        """Do the same for many at once; an error stands in the place of what it kept from being."""
        timed = bool(carries) and meter.start()
        if self.lookups is not None:
            for carry in carries:
                carry.features.extend(self.lookups(carry.event))
            if timed:
                meter.lap("lookups", len(carries))
        for carry in carries:
            carry.features.extend(self._formulas(carry.event.fields, carry.features))
        if timed:
            meter.lap("formulas", len(carries))
        known = [self._is_scored(carry) for carry in carries]
        rows = [self._inputs(carry.features) for carry in compress(carries, known)]
        scores = iter(self._bundle.many(rows))
        if timed:
            meter.lap("score", len(rows) or 1)
        found: list[Any | BadRecord] = []
        for carry, is_scored in zip(carries, known, strict=True):
            score = next(scores) if is_scored else None
            if isinstance(score, BadRecord):
                found.append(score)
                continue
            try:
                found.append(self._concluded(carry, score, meter, timed))
            except BadRecord as error:
                found.append(error)
            timed = False  # one stands for all of them
        return found

    @property
    def card(self) -> Card:
        """What the model says of itself."""
        return self._bundle.card

    @property
    def batches(self) -> bool:
        """Whether `many` makes the same bytes as one by one, and saves time."""
        return self._bundle.batches

    def _is_scored(self, carry: Carry) -> bool:
        """Whether every feature has a value: else no model can score the event."""
        return None not in carry.features

    def _concluded(self, carry: Carry, scored: Scored | None, meter: Meter, timed: bool) -> Any:
        """Decide, and encode the decision."""
        event, implausible, features, hops, _, _, repeated = carry
        event_id, time, _, fields, _ = event
        score: float | None
        classes: Sequence[float]
        known: Sequence[float | None] = features
        if scored is None:
            score, classes = None, ()
            verdict = self._without_score(features, fields)
            known = [math.nan if value is None else value for value in features]
        else:
            score, classes = scored
            verdict = self._judge(features, fields, score, implausible)
        counts = meter.counts
        counts["decisions", verdict.action] += 1
        if repeated:
            counts[("repeated",)] += 1
        if timed:
            meter.lap("decide")
        money = NO_MONEY if self._money is None else self._money(event)
        encoded = self._encode(
            event_id,
            time,
            hops,
            money,
            repeated,
            score,
            classes,
            verdict,
            implausible,
            known,
            fields,
        )
        if timed:
            meter.lap("encode")
        return encoded

    def _without_score(
        self, features: Sequence[float | None], fields: Mapping[str, Any]
    ) -> Verdict:
        """Decide an event that no model can score."""
        found = dict(zip(self._names, features, strict=True))
        without = next(name for name in self._order if found[name] is None)
        return self._decide.missing({**fields, **found, SCORE: None}, without)


def _taker(
    names: Sequence[str], wanted: Sequence[str]
) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Compile a function that takes values by their places among the names, always as a tuple."""
    places = [names.index(name) for name in wanted]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[place] for place in places])


class Money:
    """Takes an event's amount and currency, and encodes them.

    Parameters
    ----------
    path, scale
        Where the amount is, and its decimal places.
    currency, currency_path
        The currency of all events; or, where that is None, where it is.
    """

    def __init__(
        self, path: str, scale: int, currency: str | None, currency_path: str | None
    ) -> None:
        self._path = path
        self._scale = scale
        self._currency = None if currency is None else PRESENT + out.text(currency)
        self._currency_path = currency_path or ""

    def __call__(self, event: Event) -> bytes:
        unscaled = event.units[self._path]
        if unscaled is None:
            return NO_MONEY
        amount = PRESENT + out.data(amount_bytes(unscaled, self._scale))
        if self._currency is not None:
            return amount + self._currency
        currency = event.fields[self._currency_path]
        return amount + (out.NULL if currency is None else PRESENT + out.text(currency))


class Row(NamedTuple):
    """What a backfill keeps of an event; ``features`` in the order in which they become known.

    ``score`` and ``action`` are None where no model was asked, ``score`` also where
    ``decide.missing`` gave the action.
    """

    event_id: str
    event_time: int
    keys: Sequence[str | None]
    repeated: bool
    score: float | None
    action: str | None
    features: Sequence[float | None]


class ScoredRows(Finish):
    """Ends the last hop with what was decided, and leaves it unencoded."""

    output = ROWS


def scored_row(
    event_id: str,
    time: int,
    keys: Sequence[str | None],
    _money: bytes,
    repeated: bool,
    score: float | None,
    _classes: Sequence[float],
    verdict: Verdict,
    _implausible: Sequence[str],
    known: Sequence[float | None],
    _fields: Mapping[str, Any],
) -> Row:
    """Stand in the place of an encoder of decisions."""
    return Row(event_id, time, keys, repeated, score, verdict.action, known)


class FeatureRows:
    """Ends the last hop without a model: the features alone, to train one."""

    output = ROWS

    def __init__(self, formulas: Formulas, lookups: Lookups | None = None) -> None:
        self._formulas = formulas
        self.lookups = lookups

    def __call__(self, carry: Carry, meter: Meter, timed: bool) -> Row:
        event, features = carry.event, carry.features
        if self.lookups is not None:
            features.extend(self.lookups(event))
        features.extend(self._formulas(event.fields, features))
        return Row(event.id, event.time, carry.hops, carry.repeated, None, None, features)


class DecodeHop:
    """The unkeyed hop before the first key: for a topic whose message key is not the entity's."""

    def __init__(self, pipeline: str, intake: Intake, encode_dead: Encode) -> None:
        self.meter = Meter()
        self._intake = intake
        self._dead = DeadLetters(pipeline, encode_dead, self.meter)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        timed = self.meter.start()
        try:
            carry = self._intake(message)
        except BadRecord as error:
            return (self._dead(message, error, message.key, message.value),)
        if timed:
            self.meter.lap("decode")
        return (new(Emit, (NEXT, (carry.event.keys[0] or "").encode(), carry)),)


class EntityHop:
    """One entity's hop: its aggregates; then the next hop, or the decision.

    Parameters
    ----------
    pipeline
        Its name.
    entities
        All of them, in the order of the hops.
    index
        Which one this is.
    features
        Its aggregates.
    intake
        On the first hop of a keyed topic, which gets raw records; else None.
    finish
        On the last hop; else None.
    encode_dead
        Encodes a dead letter.
    seen
        Knows a producer's retry, on the first entity's hop; None where nobody asked.
    keys
        For a backfill: of each hop its key is wanted, not what a decision says of it.
    """

    def __init__(
        self,
        pipeline: str,
        entities: Sequence[str],
        index: int,
        features: EntityFeatures,
        intake: Intake | None,
        finish: Finish | FeatureRows | None,
        encode_dead: Encode,
        seen: SeenState | None = None,
        keys: bool = False,
    ) -> None:
        self.meter = Meter()
        self._entity = entities[index]
        self._trace: Callable[[str, int, bool, Sequence[int]], Any] = (
            _key if keys else hop_encoder(self._entity, features.names)
        )
        self._absent = None if keys else no_hop(self._entity)
        self._index = index
        self._features = features
        self._start: Callable[[Message], Carry] = intake or _carried
        self._finish = finish
        self._dead = DeadLetters(pipeline, encode_dead, self.meter)
        self._seen = seen
        self._keeps = 2 * max(features.horizon, seen.window if seen is not None else 0)
        self._newest = NEVER
        self._lowest, self._many = LATEST, 0
        self.models = (finish.card,) if isinstance(finish, Finish) else ()
        """What the models that it asks say of themselves."""
        self.defers = False

    @property
    def tables(self) -> list[Table]:
        """The tables that it asks."""
        lookups = self._finish.lookups if self._finish is not None else None
        return [] if lookups is None else lookups.tables

    def close(self) -> None:
        """Let go of the tables."""
        for table in self.tables:
            table.close()

    @property
    def horizon(self) -> int:
        """Milliseconds of event time after which a silent entity begins anew."""
        return self._features.horizon

    def forgotten(self, head: bytes) -> bool:
        """Whether an entity has been silent for so long that its state can go.

        It is forgotten after its longest window, by whoever comes next; after twice that it is
        deleted. It is so late when `SURE` events in a row say so: a single one whose clock is
        wrong must not cost all the others what is remembered of them.
        """
        last = newest(without_ids(head))
        return last is not None and last <= self._newest - self._keeps

    def defer(self) -> bool:
        """Ask for decisions to be left to `settle`, which takes many at once; say whether it is so.

        For an engine that holds records back until it commits them.
        """
        self.defers = isinstance(self._finish, Finish) and self._finish.batches
        return self.defers

    def settle(self, deferred: Sequence["Deferred"]) -> list[Emit]:
        """Return what each would have been: a decision, or a dead letter."""
        assert isinstance(self._finish, Finish)
        ends = self._finish.many([carry for _, carry in deferred], self.meter)
        return [self._settled(each, end) for each, end in zip(deferred, ends, strict=True)]

    def _settled(self, deferred: "Deferred", end: Any | BadRecord) -> Emit:
        message, carry = deferred
        if isinstance(end, BadRecord):
            return self._dead(message, end, carry.raw_key, carry.raw_value)
        assert isinstance(self._finish, Finish)
        return new(Emit, (self._finish.output, (carry.event.keys[0] or "").encode(), end))

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        meter = self.meter
        timed = meter.start()
        try:
            carry = self._start(message)
        except BadRecord as error:
            return (self._dead(message, error, message.key, message.value),)
        if timed:
            meter.lap("decode")
        try:
            if self._seen is not None:
                state, carry = self._looked_up(self._seen, state, carry)
            self._extend(carry, state)
            if timed:
                meter.lap("features")
            event = carry.event
            if self._finish is not None:
                key = (event.keys[0] or "").encode()
                if self.defers:
                    return (new(Emit, (self._finish.output, key, new(Deferred, (message, carry)))),)
                return (new(Emit, (self._finish.output, key, self._finish(carry, meter, timed))),)
        except BadRecord as error:
            return (self._dead(message, error, carry.raw_key, carry.raw_value),)
        following = event.keys[self._index + 1]
        if following is None:
            return (new(Emit, (NEXT, WITHOUT_KEY + event.id.encode(), carry)),)
        return (new(Emit, (NEXT, WITH_KEY + following.encode(), carry)),)

    def _extend(self, carry: Carry, state: KeyedState) -> None:
        """Add the entity's features and trace to what travels."""
        event = carry.event
        key = event.keys[self._index]
        features = self._features
        if key is None:
            carry.features.extend(features.defaults)
            carry.hops.append(self._absent)
            return
        if event.time < self._lowest:
            self._lowest = event.time
        self._many += 1
        if self._many == SURE:
            self._newest = max(self._newest, self._lowest)
            self._lowest, self._many = LATEST, 0
        compute = features.look if carry.repeated else features
        values, seq, late, cold = compute(event, state)
        if late:
            self.meter.counts["late", self._entity] += 1
        carry.features.extend(values)
        carry.hops.append(self._trace(key, seq, late, cold))

    @staticmethod
    def _looked_up(seen: SeenState, state: KeyedState, carry: Carry) -> tuple[KeyedState, Carry]:
        event = carry.event
        same = seen.open(state, event.id, carry.raw_value or b"")
        if same is None:
            seen.add(event.time)
            return seen, carry
        if not same:
            raise BadRecord(
                "validate",
                "id-reused",
                f"event id {event.id!r} came before, with another body: mend the producer",
            )
        return seen, carry._replace(repeated=True)


class Deferred(NamedTuple):
    """Stands for a decision that is still to be made."""

    message: Message
    carry: Carry


class DeadLetters:
    """Makes the score job's dead letters, and counts them."""

    def __init__(self, pipeline: str, encode: Encode, meter: Meter) -> None:
        self._pipeline = pipeline
        self._encode = encode
        self._meter = meter

    def __call__(
        self, message: Message, error: BadRecord, key: bytes | None, value: bytes | None
    ) -> Emit:
        self._meter.counts[DEAD_LETTERS, error.stage, error.kind] += 1
        letter = dead_letter(self._pipeline, JOB, message, error, key, value)
        return Emit(DEAD_LETTERS, letter["key"] or b"", self._encode(letter))


def _key(key: str, _seq: int, _late: bool, _cold: Sequence[int]) -> str:
    return key


def _carried(message: Message) -> Carry:
    carry: Carry = message.value
    return carry
