"""Flink's keyed state: heads in memory before it, and a hop without a key has none."""

import pytest

from tests.flink_state import Backend, MapState, ValueState
from verdict.pipelines.engines.flink.state import FlinkState, NoState
from verdict.state.errors import StateError


def test_a_head_that_was_read_is_not_asked_for_again() -> None:
    backend = Backend()
    backend.heads[b"c1"] = b"of a checkpoint"
    state = FlinkState(ValueState(backend), MapState(backend))
    for _ in range(3):
        backend.key = state.key = b"c1"
        assert state.get() == b"of a checkpoint"
    assert (state.cache.hits, state.cache.misses) == (2, 1)


def test_what_is_put_is_in_flink_at_once() -> None:
    """A checkpoint is taken between two records, whatever is in memory."""
    backend = Backend()
    state = FlinkState(ValueState(backend), MapState(backend))
    backend.key = state.key = b"c1"
    state.put(b"head")
    state.put_chunk(7, b"chunk")
    assert (backend.heads, backend.chunks) == ({b"c1": b"head"}, {(b"c1", 7): b"chunk"})
    state.drop()
    state.drop_chunk(7)
    assert (backend.heads, backend.chunks) == ({}, {})


def test_a_hop_without_a_key_has_no_state() -> None:
    state = NoState("decode")
    for use in (
        state.get,
        state.drop,
        lambda: state.put(b""),
        lambda: state.chunk(1),
        lambda: state.put_chunk(1, b""),
        lambda: state.drop_chunk(1),
    ):
        with pytest.raises(StateError, match="hop 'decode' has no key"):
            use()
