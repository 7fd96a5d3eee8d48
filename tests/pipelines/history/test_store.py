"""The state of a backfill: whole in memory, whole in RocksDB, and whole between the two."""

from pathlib import Path

import pytest

from verdict.pipelines.history.store import EACH, HistoryStore


def test_what_was_spilled_is_read_and_held_again(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    state = store.keyed("hop", b"key")
    state.put(b"head")
    state.put_chunk(1, b"chunk")
    assert store.held == 2 * (3 + EACH) + 4 + 8 + 5
    store.spill()
    assert store.held == 0
    assert (state.get(), state.chunk(1)) == (b"head", b"chunk")
    assert store.held > 0
    state.put(b"newer")
    assert state.get() == b"newer"
    store.spill()
    assert state.get() == b"newer"
    store.close()


@pytest.mark.parametrize("spilled", [False, True])
def test_hops_do_not_see_each_other(tmp_path: Path, spilled: bool) -> None:
    store = HistoryStore(tmp_path)
    customer, terminal = store.keyed("customer", b"key"), store.keyed("terminal", b"key")
    customer.put(b"of the customer")
    if spilled:
        store.spill()
    assert (customer.get(), terminal.get()) == (b"of the customer", None)
    store.close()


def test_what_is_swept_after_a_spill_is_gone(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path)
    state = store.keyed("hop")
    for key in (b"old", b"new"):
        state.key = key
        state.put(key)
        state.put_chunk(1, key)
    store.spill()
    assert state.sweep(lambda head: head == b"old", 10) == 1
    state.key = b"old"
    assert (state.get(), state.chunk(1)) == (None, None)
    state.put(b"again")
    store.spill()
    assert (state.get(), state.chunk(1)) == (b"again", None)
    state.key = b"new"
    assert (state.get(), state.chunk(1)) == (b"new", b"new")
    store.close()
