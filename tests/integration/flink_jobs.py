"""Small real jobs for the tests of the Flink engine; workers import this module by its name."""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState

CHUNK = 3
"""Events in a chunk of `History`, so that a few events already make and drop some."""


class Parse:
    """Takes ``<second key>|<text>`` apart; a tombstone and what has no ``|`` are dead letters."""

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        key = message.key or b""
        if message.value is None:
            yield Emit("dead", key, b"a tombstone")
        elif b"|" not in message.value:
            yield Emit("dead", key, message.value)
        else:
            text = b"%s@%d" % (message.value, message.timestamp)
            yield Emit(NEXT, key, message.stream.encode() + b":" + text)


class History:
    """Counts a key's events in the head, and keeps the texts of the last ones in chunks."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        assert message.key is not None and message.value is not None
        seen = int.from_bytes(state.get() or b"", "big")
        number = 2 + seen // CHUNK  # numbers begin at 0, and two before it are looked for
        before = state.chunk(number - 1) or b"-"
        chunk = (state.chunk(number) or b"") + message.value + b";"
        state.put_chunk(number, chunk)
        state.drop_chunk(number - 2)
        state.put((seen + 1).to_bytes(4, "big"))
        gone = state.chunk(number - 2)
        stream, _, rest = message.value.partition(b":")
        second, _, text = rest.partition(b"|")
        said = b"%s %d %s %s %r" % (stream, seen + 1, before, chunk, gone)
        yield Emit("seen", message.key, said)
        for copy in range(2 if text.startswith(b"twice") else 1):
            yield Emit(NEXT, second, b"%s/%d/%d" % (message.key, seen + 1, copy))


class Count:
    """Counts the second key's events."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        assert message.key is not None and message.value is not None
        seen = int.from_bytes(state.get() or b"", "little") + 1
        state.put(seen.to_bytes(2, "little"))
        where = f"{message.topic} {message.partition} {message.offset} {message.timestamp}"
        yield Emit("seen", message.key, b"#%d %s %s" % (seen, message.value, where.encode()))


class CountAndCopy(Count):
    """Counts as before, and copies each event to an output that is new."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        yield from super().__call__(message, state)
        yield Emit("copies", message.key or b"", message.value or b"")


class Fail:
    """Fails on the value ``fail``."""

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        if message.value == b"fail":
            raise ValueError("this value was meant to fail")
        yield Emit("seen", message.key or b"", message.value or b"")


class FailOnce:
    """Fails on the third record that this interpreter sees, and never again."""

    seen: ClassVar[int] = 0

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        FailOnce.seen += 1
        if FailOnce.seen == 3:
            raise ValueError("this is meant to happen once")
        yield Emit("seen", message.key or b"", message.value or b"")


class Stray:
    """Emits to an output that the job does not have."""

    def __call__(self, message: Message, _state: KeyedState) -> Iterable[Emit]:
        yield Emit("nowhere", message.key or b"", b"")


def three_hops() -> Job:
    """Make a job of two inputs, a hop without a key, and two with different keys."""
    hops = (Hop("parse", False, Parse), Hop("first", True, History), Hop("second", True, Count))
    return Job("three", "tests", ("events", "labels"), hops, ("seen", "dead"))


def three_collected() -> Job:
    """Make the same job, of whose first key Flink collects what has been silent for a year."""
    job = three_hops()
    parse, first, second = job.hops
    return replace(job, hops=(parse, replace(first, state_ttl=365 * 86_400_000), second))


def failing() -> Job:
    """Make a job whose operator fails on one record."""
    return Job("failing", "tests", ("events",), (Hop("fail", True, Fail),), ("seen",))


def failing_once() -> Job:
    """Make a job that Flink has to start twice."""
    return Job("once", "tests", ("events",), (Hop("once", True, FailOnce),), ("seen",))


def stray() -> Job:
    """Make a job whose operator emits to nowhere."""
    return Job("stray", "tests", ("events",), (Hop("stray", True, Stray),), ("seen",))


def counting() -> Job:
    """Make the trivial keyed job."""
    return Job("counting", "tests", ("events",), (Hop("count", True, Count),), ("seen",))


def copying() -> Job:
    """Make the same with an output more, which is not the last."""
    hop = Hop("count", True, CountAndCopy)
    return Job("counting", "tests", ("events",), (hop,), ("copies", "seen"))
