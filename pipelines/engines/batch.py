"""One hop's records, a batch at a time through its operator: what both engines share."""

import time
from collections.abc import Sequence
from typing import Any

from verdict.operators.message import Deferred, Deferring, Emit, Message, Operator, new
from verdict.pipelines.errors import RegistryError
from verdict.pipelines.telemetry.meters import HopMeter

Emitted = tuple[int, Emit]
"""The index of a message in its batch, and a record that it made."""


class HopRunner:
    """Runs batches of one hop's messages through its operator, in their order.

    A message sees the state as the one before it left it. An operator that is `Deferring` ends
    those of a batch together, with the same bytes as one by one.

    Parameters
    ----------
    operator
        The hop's.
    state
        Of its keys.
    last
        Whether the job ends with this hop.
    meter
        Takes the time of each message; None takes none.

    Attributes
    ----------
    taken, blocked
        How many messages the last batch ran; and why not the others, if the schema registry is
        away: to decode is the first thing that is done, so no state knows of the one that waits.
    failing
        What the operator failed on, where a batch raised: a message, or the first and the last of
        those that were ended together.

    Examples
    --------
    >>> from verdict.state.store.keyed import MemoryState
    >>> state = MemoryState()
    >>> run = HopRunner(lambda message, state: [Emit("out", b"", message.value)], state, True)
    >>> run([Message("events", b"k", value, "t", 0, 0, -1) for value in (b"a", b"b")])
    [(0, Emit(output='out', key=b'', value=b'a')), (1, Emit(output='out', key=b'', value=b'b'))]
    """

    def __init__(
        self, operator: Operator, state: Any, last: bool, meter: HopMeter | None = None
    ) -> None:
        self.operator = operator
        self.state: Any = state
        self.taken = 0
        self.blocked: RegistryError | None = None
        self.failing: tuple[Message, ...] = ()
        self._meter = meter
        self._deferring: Deferring | None = None
        if last and isinstance(operator, Deferring) and operator.defers:
            self._deferring = operator

    def __call__(self, messages: Sequence[Message]) -> list[Emitted]:
        """Run messages, until one has to wait."""
        # One alone is ended at once.
        deferring = self._deferring if len(messages) > 1 else None
        operator, state, meter = self.operator, self.state, self._meter
        clock = time.perf_counter_ns
        emitted: list[Emitted] = []
        deferred: list[int] = []  # their places in it
        began: list[int] = []
        self.blocked, index, place = None, 0, 0
        try:
            for message in messages:
                state.key = message[1] or b""
                if meter is not None:
                    began.append(clock())
                if deferring is not None:
                    emits = deferring(message, state, True)
                else:
                    emits = operator(message, state)
                for emit in emits:  # a comprehension is a call
                    emitted.append((index, emit))
                    if type(emit[2]) is Deferred:
                        deferred.append(place)
                    place += 1
                index += 1
        except RegistryError as error:
            self.blocked = error
            if began:
                began.pop()
        except Exception:
            self.failing = (message,)
            raise
        self.taken = index
        if meter is not None:
            meter.times += _differences(began, clock())
        if deferring is not None and deferred:
            self._end(deferring, emitted, deferred)
        return emitted

    def _end(self, deferring: Deferring, emitted: list[Emitted], places: Sequence[int]) -> None:
        """Put what was deferred in its place."""
        deferred = [emitted[place][1][2] for place in places]
        meter = self._meter
        began = time.perf_counter_ns() if meter is not None else 0
        try:
            settled = deferring.settle(deferred)
        except Exception:
            self.failing = (deferred[0].message, deferred[-1].message)
            raise
        if meter is not None:
            # Each took its share of it. The events of this batch are the last ones in ``times``.
            share = (time.perf_counter_ns() - began) // len(places)
            first = len(meter.times) - self.taken
            for place in places:
                meter.times[first + emitted[place][0]] += share
        for place, emit in zip(places, settled, strict=True):
            emitted[place] = (emitted[place][0], emit)


def _differences(began: Sequence[int], ended: int) -> list[int]:
    """Return how long each took, of which the next one's begin is the end.

    >>> _differences([1, 3, 7], 8)
    [2, 4, 1]
    """
    return [end - start for start, end in zip(began, [*began, ended][1:], strict=True)]


def to_next(message: Message, emit: Emit) -> Message:
    """Make the message to a hop of what the one before it emitted to `NEXT`."""
    stream, _, _, topic, partition, offset, timestamp, carried = message
    _, key, value = emit
    return new(Message, (stream, key, value, topic, partition, offset, timestamp, carried))
