"""`FlinkState` over a stand-in for Java's operator; on Flink itself in the generic test."""

import pickle

import pytest

from tests.flink_state import Operator
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.state.errors import StateError
from verdict.state.store.cache import HeadCache


def test_heads_are_handed_over_once_a_key_and_chunks_at_once() -> None:
    java = Operator()
    state = FlinkState(java)
    state.key = b"c1"
    assert state.get() is None
    state.put(b"older")
    state.put(b"head")
    state.put_chunk(7, b"log")
    assert (state.get(), state.chunk(7), java.reads) == (b"head", b"log", 1)
    assert {place: pickle.loads(data) for place, data in java.chunks.items()} == {
        (b"c1", 7): b"log"
    }
    state.key = b"c2"
    state.put(b"other")
    state.drop()
    assert state.take_written() == ((b"c1", b"c2"), (b"head", None))
    assert state.take_written() == ((), ())
    state.key = b"c1"
    state.drop_chunk(7)
    assert (state.chunk(7), java.chunks) == (None, {})


def test_what_is_not_yet_handed_over_is_read_though_no_cache_holds_it() -> None:
    java = Operator()
    java.heads[b"c1"] = java.heads[b"c2"] = b"of before"
    state = FlinkState(java)
    state.cache = HeadCache(0)
    state.key = b"c1"
    state.put(b"head")
    state.key = b"c2"
    state.drop()
    assert state.get() is None
    state.key = b"c1"
    assert (state.get(), java.reads) == (b"head", 0)


def test_what_flink_restored_is_read() -> None:
    java = Operator()
    java.heads[b"c1"], java.chunks[b"c1", 3] = b"head", pickle.dumps(b"log")
    state = FlinkState(java)
    state.key = b"c1"
    assert [state.get() for _ in range(2)] == [b"head"] * 2
    assert (state.chunk(3), state.chunk(4), java.reads) == (b"log", None, 1)
    assert (state.cache.hits, state.cache.misses) == (1, 1)


def test_a_hop_without_a_key_says_how_to_have_one() -> None:
    with pytest.raises(StateError, match=r"hop 'decode' has no key.*keyed=True"):
        NoState("decode").put(b"head")
