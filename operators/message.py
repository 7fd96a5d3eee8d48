"""What travels into an operator and out of it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from verdict.operators.meter import Meter
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

    What goes to `NEXT` can be pickled, and is the following hop's from then on: that hop may change
    it, whoever emitted it does not.
    """

    output: str
    key: bytes
    value: Any


class Operator(Protocol):
    """(record, state) -> outputs. Pure: no engine, no clock, no I/O.

    It may do more, and an engine that finds it does makes use of it: `Deferring`, `Forgetting`,
    `Holding`, `Counts`. Metrics show what it says in ``models`` (cards of the models that it asks)
    and in ``tables`` (those that it looks things up in).
    """

    def __call__(self, message: Message, state: KeyedState, /) -> Iterable[Emit]:
        """Return what the record makes, and leave in the state what is to be remembered."""
        ...


class Deferred(NamedTuple):
    """Stands among what an operator puts out for what `Deferring.settle` is to make of it.

    Attributes
    ----------
    message
        What the operator was called with.
    value
        How far it got.
    """

    message: Message
    value: Any


@runtime_checkable
class Deferring(Protocol):
    """An operator of a job's last hop whose end costs less for many at once, as a model's does.

    Whether to defer is said in each call, so an engine may do so or not, by turns.

    Attributes
    ----------
    defers
        Whether it is worth it, with the same bytes.
    """

    defers: bool

    def __call__(self, message: Message, state: KeyedState, defer: bool = False) -> Iterable[Emit]:
        """Return what the record makes; with ``defer``, a `Deferred` may stand for it."""
        ...

    def settle(self, deferred: Sequence[Deferred]) -> list[Emit]:
        """Return what stands in the place of each."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """An operator whose keys' state may go one day."""

    def forgotten(self, head: bytes) -> bool:
        """Whether the state with this head can be deleted; see `AgreedTime`."""
        ...


@runtime_checkable
class Holding(Protocol):
    """An operator that holds something beside its state: tables that it looks things up in."""

    def close(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class Counts(Protocol):
    """An operator with a meter, to which the engine gives a clock if it is to time anything."""

    meter: Meter


SURE = 20
"""Events in a row that have to agree that a time has come before anything is deleted for it."""
EARLIEST, LATEST = -(1 << 63), (1 << 63) - 1
"""The first and last time that Avro's longs hold."""


class AgreedTime:
    """The event time that `SURE` events in a row have reached: what is deleted goes by it.

    A single event whose clock is wrong must not cost all others what is remembered of them.

    Attributes
    ----------
    newest
        In milliseconds.

    Examples
    --------
    >>> agreed = AgreedTime()
    >>> for at in [9_999_999, *range(1_000, 1_000 + SURE - 1)]:
    ...     agreed.take(at)
    >>> agreed.newest
    1000
    """

    __slots__ = ("_lowest", "_many", "newest")

    def __init__(self) -> None:
        self.newest = EARLIEST
        self._lowest, self._many = LATEST, 0

    def take(self, time: int) -> None:
        """Take the next event's time."""
        if time < self._lowest:
            self._lowest = time
        self._many += 1
        if self._many == SURE:
            self.newest = max(self.newest, self._lowest)
            self._lowest, self._many = LATEST, 0


NO_TIMESTAMP = -1
"""Kafka's own value for a record without one."""
