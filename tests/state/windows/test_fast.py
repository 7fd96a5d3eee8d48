"""When the quick way leaves an event to the general one: it has done nothing then.

That both leave the same bytes and see the same, `test_general.py` and `test_labels.py` hold.
"""

import pytest

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.fast import quick
from verdict.state.windows.general import Windows
from verdict.state.windows.plan import Column, Plan, Settled
from verdict.state.windows.rows import OPEN_MAX
from verdict.state.windows.values import NULL

AMOUNT = Column("q", meaning="amount")
ASKED = [Aggregate("sum", 100, 0), Aggregate("max", 100, 0)]


class Key:
    """A key, and both ways to it."""

    def __init__(self, plan: Plan) -> None:
        self.windows = Windows(plan)
        self.update = quick(self.windows)
        self.state = MemoryState()

    def taken(self, at: int, *values: int) -> bool:
        """Whether the quick way takes an event; else it has changed nothing, and the other does."""
        before = self.state.head, dict(self.state.chunks)
        if self.update(self.state, self.state.get(), at, values) is not None:
            return True
        assert before == (self.state.head, self.state.chunks)
        self.windows.update(self.state, at, values)
        return False


@pytest.fixture
def key() -> Key:
    return Key(Plan(ASKED, [AMOUNT], 100))


def test_it_takes_the_first_event_and_those_that_follow(key: Key) -> None:
    assert all(key.taken(at, at) for at in (0, 0, 7, 99, 100, 500, 10**12))


def test_it_leaves_a_late_event(key: Key) -> None:
    assert key.taken(10, 1)
    assert not key.taken(9, 1)
    assert key.taken(10, 1)


def test_it_leaves_the_event_that_finds_the_head_full(key: Key) -> None:
    assert [key.taken(0, -at) for at in range(OPEN_MAX + 2)].count(False) >= 1
    other = Key(Plan([Aggregate("count", 100)], [], 100))
    assert [other.taken(0) for _ in range(OPEN_MAX + 2)] == [True] * OPEN_MAX + [False, True]


def test_it_leaves_what_drops_a_page() -> None:
    key = Key(Plan([Aggregate("count", 100)], [], 100))
    for _ in range(OPEN_MAX + 1):
        key.taken(0)
    assert key.taken(99)
    assert not key.taken(100)
    assert not key.state.chunks


def test_it_leaves_a_sum_beyond_64_bits(key: Key) -> None:
    assert key.taken(0, 1 << 62)
    assert not key.taken(1, 1 << 62)
    assert not key.taken(2, 1)  # the head holds it in another place
    assert key.windows.look(key.state, 2).values[0] == float((1 << 63) + 1)


def test_it_leaves_a_head_of_another_plan(key: Key) -> None:
    other = Key(Plan([Aggregate("sum", 50, 0)], [AMOUNT], 100))
    assert other.taken(0, 1)
    key.state = other.state
    assert not key.taken(1, 1)
    assert key.taken(2, 1)


def test_it_leaves_an_event_at_which_a_label_is_settled() -> None:
    columns = [Column("q", nullable=False, meaning="id"), Column("q", label=Settled(50, 0))]
    key = Key(Plan([Aggregate("sum", 100, 1, 50)], columns, 200))
    assert key.taken(0, 1, NULL)
    key.windows.label(key.state, (0, 1, 5, 1, 0))
    assert key.taken(49, 2, NULL)
    assert not key.taken(50, 3, NULL)
    assert key.taken(51, 4, NULL)
    assert key.windows.look(key.state, 51).values == [1.0]
