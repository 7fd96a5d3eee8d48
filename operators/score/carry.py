"""What travels between the hops of the job that decides."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from verdict.operators.errors import BadRecord
from verdict.operators.events.event import Event
from verdict.operators.message import Emit, Message
from verdict.operators.meter import Meter
from verdict.operators.names import DEAD_LETTERS
from verdict.operators.records.dead_letter import dead_letter
from verdict.operators.records.streams import Encode

WITH_KEY, WITHOUT_KEY = b"k", b"-"
"""First byte of a later hop's key. An event without the entity gets a key of its own that no state
is ever kept for, so there is no hot key of the missing."""
JOB = "score"


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


def key_of_hop(key: str, _seq: int, _late: bool, _cold: Sequence[int]) -> str:
    return key


def carried(message: Message) -> Carry:
    carry: Carry = message.value
    return carry
