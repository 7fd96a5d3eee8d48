"""What travels into an operator and out of it."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from verdict.state.store.keyed import KeyedState

NEXT = ""
"""The output that leads to the job's following hop."""


Headers = tuple[tuple[str, bytes], ...]

new = tuple.__new__
"""Makes a named tuple of all its values in half the time that calling its class takes: for those
that are made with every event.

>>> new(Emit, ("decisions", b"c1", b"body"))
Emit(output='decisions', key=b'c1', value=b'body')
"""


class Message(NamedTuple):
    """One record of a stream, with where it came from.

    Between hops ``key`` and ``value`` change; the coordinates stay those of the input record that
    caused the message, so that whatever comes of it can be traced to its source.

    Attributes
    ----------
    stream
        Logical name of the input: ``events``, ``decisions``, ``shadow-scores``.
    key
        Raw bytes; None as Kafka has it.
    value
        Raw bytes on a job's first hop, None as Kafka has it; on a later one what the hop before
        emitted to `NEXT`.
    topic, partition, offset
        Kafka's coordinates, or a file's name, its number and the record's index in it.
    timestamp
        Kafka's, in milliseconds since the epoch; negative where there is none.
    carried
        The headers of the input record that go on to the output records.
    """

    stream: str
    key: bytes | None
    value: Any
    topic: str
    partition: int
    offset: int
    timestamp: int
    carried: Headers = ()


class Emit(NamedTuple):
    """One record that an operator puts out: bytes to a named stream, anything to `NEXT`.

    What goes to `NEXT` can be pickled, and is not changed afterwards.
    """

    output: str
    key: bytes
    value: Any


class Operator(Protocol):
    """(record, state) -> outputs. Pure: no engine, no clock, no I/O."""

    def __call__(self, message: Message, state: KeyedState, /) -> Iterable[Emit]: ...


SURE = 20
"""Events in a row that have to agree that a time has come before anything is deleted for it."""
LATEST = (1 << 63) - 1


NO_TIMESTAMP = -1
"""Kafka's own value for a record without one."""
