"""`Aggregates` as operators use it: log, look, label, tell, forget."""

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.plan import Column, Settled
from verdict.state.windows.result import REPEATED, TAKEN, WindowResult
from verdict.state.windows.rows import OPEN_MAX
from verdict.state.windows.values import NULL

COLUMNS = [Column("q", nullable=False, meaning="id"), Column("q", label=Settled(50, 0))]


def test_a_look_is_what_the_next_event_would_see_without_itself() -> None:
    asked = [Aggregate("count", 10, current=False), Aggregate("count", 10)]
    aggregates, state = Aggregates(asked, [], 20), MemoryState()
    for at in (0, 4, 9, 2):  # the last is late
        aggregates.update(state, at, [])
    before = state.head
    for at in (3, 9, 12, 100):
        looked = aggregates.look(state, at)
        assert state.head == before
        other = MemoryState()
        other.put(before or b"")
        logged = aggregates.update(other, at, [])
        without, with_itself = logged.values
        assert looked.values[1] == without
        assert with_itself == (without or 0.0) + 1
        assert (looked.seq, looked.late) == (4, logged.late)


def test_what_is_remembered_is_every_row_the_newest_sees_and_labels_that_wait() -> None:
    aggregates, state = Aggregates([Aggregate("sum", 100, 1, 50)], COLUMNS, 150), MemoryState()
    for at in (0, 60, 120):
        aggregates.update(state, at, [at, NULL])
    assert aggregates.label(state, (120, 120, 121, 1, 0)) == TAKEN
    assert aggregates.label(state, (120, 120, 121, 1, 0)) == REPEATED
    found, newest, log, labels = aggregates.remembered(state)
    assert found == WindowResult([0.0], 3, False, ())
    assert newest == 120
    assert log == [(0, 0, NULL), (60, 60, NULL), (120, 120, NULL)]
    assert labels == [(120, 120, 121, 1, 0)]


def test_a_key_that_is_forgotten_leaves_nothing() -> None:
    asked = [Aggregate("distinct", 1_000, 0), Aggregate("min", 1_000, 0)]
    aggregates, state = Aggregates(asked, [Column("q")], 1_000), MemoryState()
    for at in range(3 * OPEN_MAX):
        aggregates.update(state, at, [at])
    assert state.chunks
    aggregates.forget(state)
    assert (state.head, state.chunks) == (None, {})
    aggregates.forget(state)  # of a key never seen: nothing
    assert aggregates.update(state, 0, [1]).seq == 1
