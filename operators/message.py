"""What travels into an operator and out of it."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from state.keyed import KeyedState

NEXT = ""
"""The output that leads to the job's following hop."""


class Message(NamedTuple):
    """One record of a stream, with where it came from.

    Between hops ``key`` and ``value`` change; the coordinates stay those of the input record that
    caused the message, so that whatever comes of it can be traced to its source.

    Attributes
    ----------
    stream
        Logical name of the input: ``events``, ``decisions``, ``shadow-scores``.
    key, value
        Raw bytes; None as Kafka has it.
    topic, partition, offset
        Kafka's coordinates, or a file's name, its number and the record's index in it.
    timestamp
        Kafka's, in milliseconds since the epoch.
    """

    stream: str
    key: bytes | None
    value: bytes | None
    topic: str
    partition: int
    offset: int
    timestamp: int


class Emit(NamedTuple):
    """One record that an operator puts out: to a named stream, or to ``NEXT``."""

    output: str
    key: bytes
    value: bytes


class Operator(Protocol):
    """(record, state) -> outputs. Pure: no engine, no clock, no I/O."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]: ...
