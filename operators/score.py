"""The score job's operators: decode, an entity's hop, and the decision at the end of the last.

Between hops a `Carry` travels, pickled: what the record was, what is known of it so far.
"""

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from operators.bundle import Bundle
from operators.decide import SCORE, Decide
from operators.decode import Decode, Event, Extract
from operators.errors import BadRecord
from operators.features import EntityFeatures, Formulas
from operators.message import NEXT, Emit, Message
from operators.records import (
    DEAD_LETTERS,
    DECISIONS,
    Encode,
    amount_bytes,
    dead_letter,
    decision_id,
)
from state.keyed import KeyedState

PRESENT, ABSENT = b"k", b"-"
"""First byte of a later hop's key. An event without the entity gets a key of its own that no state
is ever kept for, so there is no hot key of the missing."""

JOB = "score"
FEATURES = "features"
"""The output of a job that stops short of the model: what a model is trained on."""


class HopTrace(NamedTuple):
    """What one hop says of an event in its decision."""

    entity: str
    key: str | None
    hop_seq: int | None
    late: bool


class Carry(NamedTuple):
    """What travels between hops."""

    event: Event
    implausible: list[str]
    features: dict[str, float]
    hops: list[HopTrace]
    raw_key: bytes | None
    raw_value: bytes | None


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
    """

    def __init__(
        self, decode: Decode, extract: Extract, checks: Sequence[Plausible], keyed: bool
    ) -> None:
        self._decode = decode
        self._extract = extract
        self._checks = checks
        self._keyed = keyed

    def __call__(self, message: Message) -> Carry:
        if message.value is None:
            raise BadRecord("decode", "a tombstone: the record has a key and no value")
        event = self._extract(self._decode(message.value))
        if self._keyed and message.key != (event.keys[0] or "").encode():
            raise BadRecord(
                "validate",
                "the record's key is not its event's: mend the producer, or drop events.keyed_by",
            )
        implausible = []
        for check in self._checks:
            value = event.fields[check.path]
            if not check.holds(value):
                if check.dead:
                    raise BadRecord("validate", f"field '{check.path}' is implausible: {value!r}")
                implausible.append(check.path)
        return Carry(event, implausible, {}, [], message.key, message.value)


class Finish:
    """From a `Carry` with every aggregate to the encoded decision.

    Parameters
    ----------
    pipeline
        Its name.
    formulas
        The features of the event alone.
    bundle
        The champion.
    decide
        The policy.
    money
        Takes amount and currency out of an event; None where the pipeline names none.
    encode
        Encodes a decision.
    order
        Every feature's name, in the order of the record.
    fields
        The event's fields that rules read.
    """

    output = DECISIONS

    def __init__(
        self,
        pipeline: str,
        formulas: Formulas,
        bundle: Bundle,
        decide: Decide,
        money: "Money | None",
        encode: Encode,
        order: Sequence[str],
        fields: Sequence[str],
    ) -> None:
        self._pipeline = pipeline
        self._formulas = formulas
        self._bundle = bundle
        self._decide = decide
        self._money = money
        self._encode = encode
        self._order = order
        self._fields = fields
        card = bundle.card
        self._model = {"name": card.name, "version": card.version, "sha256": card.sha256}

    def __call__(self, carry: Carry) -> bytes:
        event = carry.event
        features = complete(carry, self._formulas)
        score, classes = self._bundle([features[name] for name in self._bundle.card.features])
        verdict = self._decide({**event.fields, **features, SCORE: score}, score, carry.implausible)
        amount, currency = (None, None) if self._money is None else self._money(event)
        return self._encode(
            {
                "decision_id": decision_id(self._pipeline, event.id),
                "pipeline": self._pipeline,
                "event_id": event.id,
                "event_time": event.time,
                "hops": [hop._asdict() for hop in carry.hops],
                "amount": amount,
                "currency": currency,
                "model": self._model,
                "score": score,
                "classes": classes,
                "action": verdict.action,
                "because": verdict.because,
                "rules": verdict.rules,
                "implausible": carry.implausible,
                "features": {name: features[name] for name in self._order},
                "fields": {name: event.fields[name] for name in self._fields},
            }
        )


@dataclass(frozen=True)
class Money:
    """Where an event's amount and currency are."""

    path: str
    scale: int
    currency: str | None
    currency_path: str | None

    def __call__(self, event: Event) -> tuple[bytes | None, str | None]:
        unscaled = event.units[self.path]
        if unscaled is None:
            return None, None
        currency = self.currency or event.fields[self.currency_path or ""]
        return amount_bytes(unscaled, self.scale), currency


class Row:
    """Ends the last hop without a model: the features alone, pickled, to train one.

    What it makes is ``(event id, event time, {feature: value})``.
    """

    output = FEATURES

    def __init__(self, formulas: Formulas, order: Sequence[str]) -> None:
        self._formulas = formulas
        self._order = order

    def __call__(self, carry: Carry) -> bytes:
        features = complete(carry, self._formulas)
        row = {name: features[name] for name in self._order}
        return pickle.dumps((carry.event.id, carry.event.time, row))


def complete(carry: Carry, formulas: Formulas) -> dict[str, float]:
    """Add the features of the event alone to those of its entities."""
    carry.features.update(zip(formulas.names, formulas(carry.event.fields), strict=True))
    return carry.features


class DecodeHop:
    """The unkeyed hop before the first key: for a topic whose message key is not the entity's."""

    def __init__(self, pipeline: str, intake: Intake, encode_dead: Encode) -> None:
        self._intake = intake
        self._dead = DeadLetters(pipeline, encode_dead)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        try:
            carry = self._intake(message)
        except BadRecord as error:
            return (self._dead(message, error, message.key, message.value),)
        return (Emit(NEXT, (carry.event.keys[0] or "").encode(), pickle.dumps(carry)),)


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
    """

    def __init__(
        self,
        pipeline: str,
        entities: Sequence[str],
        index: int,
        features: EntityFeatures,
        intake: Intake | None,
        finish: Finish | Row | None,
        encode_dead: Encode,
    ) -> None:
        self._entity = entities[index]
        self._index = index
        self._features = features
        self._start: Callable[[Message], Carry] = intake or _unpickled
        self._finish = finish
        self._dead = DeadLetters(pipeline, encode_dead)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        try:
            carry = self._start(message)
        except BadRecord as error:
            return (self._dead(message, error, message.key, message.value),)
        event = carry.event
        try:
            key = event.keys[self._index]
            if key is None:
                values = self._features.skipped()
                carry.hops.append(HopTrace(self._entity, None, None, False))
            else:
                values, seq, late = self._features(event, state)
                carry.hops.append(HopTrace(self._entity, key, seq, late))
            carry.features.update(zip(self._features.names, values, strict=True))
            if self._finish is not None:
                end = self._finish(carry)
                return (Emit(self._finish.output, (event.keys[0] or "").encode(), end),)
        except BadRecord as error:
            return (self._dead(message, error, carry.raw_key, carry.raw_value),)
        following = event.keys[self._index + 1]
        if following is None:
            return (Emit(NEXT, ABSENT + event.id.encode(), pickle.dumps(carry)),)
        return (Emit(NEXT, PRESENT + following.encode(), pickle.dumps(carry)),)


class DeadLetters:
    """Makes the score job's dead letters."""

    def __init__(self, pipeline: str, encode: Encode) -> None:
        self._pipeline = pipeline
        self._encode = encode

    def __call__(
        self, message: Message, error: BadRecord, key: bytes | None, value: bytes | None
    ) -> Emit:
        letter = dead_letter(self._pipeline, JOB, message, error, key, value)
        return Emit(DEAD_LETTERS, letter["key"] or b"", self._encode(letter))


def _unpickled(message: Message) -> Carry:
    carry: Carry = pickle.loads(message.value or b"")
    return carry
