"""`FlinkState` over stand-ins for what Flink hands a hop; on Flink itself in the generic test."""

from types import SimpleNamespace

import pytest

from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.state.errors import StateError


class Value:
    """A `ValueState`, as the Java object is called."""

    def __init__(self) -> None:
        self.held: bytes | None = None
        self.reads = 0

    def value(self) -> bytes | None:
        self.reads += 1
        return self.held

    def update(self, head: bytes) -> None:
        self.held = head

    def clear(self) -> None:
        self.held = None


class Chunks(dict[int, bytes]):
    """A `MapState`."""

    put = dict.__setitem__

    def remove(self, number: int) -> None:
        self.pop(number, None)


def test_what_is_written_is_in_flink_at_once_and_read_once() -> None:
    value, chunks = Value(), Chunks()
    state = FlinkState(SimpleNamespace(_state=value), chunks)
    state.key = b"c1"
    assert state.get() is None
    state.put(b"head")
    state.put_chunk(7, b"log")
    assert (value.held, chunks) == (b"head", {7: b"log"})
    assert (state.get(), state.chunk(7), value.reads) == (b"head", b"log", 1)
    state.drop()
    state.drop_chunk(7)
    assert (value.held, chunks) == (None, {})
    assert (state.get(), state.chunk(7)) == (None, None)


def test_what_flink_restored_is_read() -> None:
    value, chunks = Value(), Chunks({3: b"log"})
    value.held = b"head"
    state = FlinkState(SimpleNamespace(_state=value), chunks)
    assert [state.get() for _ in range(2)] == [b"head"] * 2
    assert (state.chunk(3), state.chunk(4), value.reads) == (b"log", None, 1)
    assert (state.cache.hits, state.cache.misses) == (1, 1)


def test_a_hop_without_a_key_says_how_to_have_one() -> None:
    with pytest.raises(StateError, match=r"hop 'decode' has no key.*keyed=True"):
        NoState("decode").put(b"head")
