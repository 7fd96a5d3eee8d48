"""What travels between the hops of the job that decides."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from verdict.operators.events.event import Event
from verdict.operators.message import Message

WITH_KEY, WITHOUT_KEY = b"k", b"-"
"""First byte of a later hop's key. An event without the entity gets a key of its own that no state
is ever kept for, so there is no hot key of the missing."""


class Carry(NamedTuple):
    """What travels between hops, and grows on its way.

    Each hop adds to ``features`` and ``hops`` in place: one list an event, not one a hop.
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


def as_it_came(message: Message, carry: Carry) -> Message:
    """Put the record's own key and value back, for a dead letter."""
    return message._replace(key=carry.raw_key, value=carry.raw_value)


def key_of_hop(key: str, _seq: int, _late: bool, _cold: Sequence[int]) -> str:
    """Return a hop's key from what a `Carry` holds of the hop."""
    return key


def carried(message: Message) -> Carry:
    """Return a message's value as the `Carry` that it is."""
    carry: Carry = message.value
    return carry
