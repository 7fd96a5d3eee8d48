"""A late event sees what it would have seen in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.keyed import MemoryState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.general import Windows
from verdict.state.windows.layout import seen_in_pages
from verdict.state.windows.plan import Column, Plan
from verdict.state.windows.values import NULL

ASKED = [
    *(
        Aggregate(op, 50, 0)
        for op in ("count", "sum", "std", "min", "max", "first", "last", "distinct")
    ),
    Aggregate("mean", 50, 0, delay=20),
    Aggregate("time_since_last", 50, 0),
]
PLAN = Plan(ASKED, [Column("q", nullable=False)], retention=1_000)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(-9, 9)), min_size=2, max_size=200),
    st.data(),
)
def test_one_that_comes_last_sees_what_it_would_have_seen_in_its_place(
    gaps: list[tuple[int, int]], data: st.DataObject
) -> None:
    events, at = [], 0
    for gap, value in gaps:
        at += gap
        events.append((at, value))
    newest = len(events) - 1
    first = next(i for i, (time, _) in enumerate(events) if time > at - 900)
    which = data.draw(st.integers(min(first, newest - 1), newest - 1))
    windows, in_order, late = Windows(PLAN), MemoryState(), MemoryState()
    for i, (time, value) in enumerate(events):
        found = windows.update(in_order, time, [value])
        if i == which:
            expected = found
    for time, value in (*events[:which], *events[which + 1 :], events[which]):
        found = windows.update(late, time, [value])
    assert (found.values, found.late, found.seq) == (expected.values, True, len(events))
    after = at + 1
    assert windows.look(late, after).values == windows.look(in_order, after).values


def test_one_that_is_older_than_all_rows_sees_the_last_value_of_its_own_time() -> None:
    windows, state = Windows(Plan([Aggregate("last", 10, 0)], [Column("q")], 10)), MemoryState()
    for at, value in ((0, 5), (100, NULL)):
        windows.update(state, at, [value])
    assert windows.update(state, 0, [NULL]).values == [5.0]


def test_one_before_which_the_value_was_missing_sees_the_last_that_was_not() -> None:
    windows, state = Windows(Plan([Aggregate("last", 50, 0)], [Column("q")], 200)), MemoryState()
    for at, value in ((0, 5), (10, NULL), (100, 9)):
        windows.update(state, at, [value])
    assert windows.update(state, 20, [NULL]).values == [5.0]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (((30, -9), (100, 0)), 3.0),  # the newest surpasses it: all rows of its window are read
        (((30, -9), (100, 5)), 3.0),  # it is a candidate itself, before the newest
        (((60, 5),), 3.0),  # and one that stands for its window
        (((200, 0),), 3.0),  # its window begins before all candidates do
    ],
)
def test_one_sees_the_extreme_of_its_own_window_whose_begin_is_outside(
    kept: tuple[tuple[int, int], ...], expected: float
) -> None:
    asked = [Aggregate("min", over, 1) for over in (20, 30, 100)]
    plan = Plan(asked, [Column("q"), Column("q")], retention=400)
    windows, state = Windows(plan), MemoryState()
    for at, value in kept:
        windows.update(state, at, [-77, value])
    assert windows.update(state, 50, [-78, 3]).values[0] == expected


def test_an_extreme_of_all_rows_leaves_out_that_at_the_begin() -> None:
    plan = Plan([Aggregate("min", 20, 0)], [Column("q")], retention=400)
    windows, state = Windows(plan), MemoryState()
    for at, value in ((30, -9), (200, 0)):
        windows.update(state, at, [value])
    assert windows.update(state, 50, [3]).values == [3.0]


def test_one_without_a_value_among_none_sees_no_extreme() -> None:
    asked = [Aggregate("min", 20, 0), Aggregate("min", 100, 0)]
    windows, state = Windows(Plan(asked, [Column("q")], 100)), MemoryState()
    windows.update(state, 100, [NULL])
    assert windows.update(state, 50, [NULL]).values == [None, None]


def test_one_that_falls_into_a_page_is_the_last_of_its_value_there() -> None:
    shop = 1
    plan = Plan([Aggregate("distinct", 10_000, shop)], [Column("q")] * 3, retention=10_000)
    windows, state = Windows(plan), MemoryState()
    for at in range(200):
        windows.update(state, at, [-1, 0, -2])
    assert windows.update(state, 10, [-3, 7, -4]).values == [2.0]
    assert seen_in_pages(state.chunk, shop, 7) == 10


def test_one_that_would_be_forgotten_at_once_is_not_kept() -> None:
    windows, state = Windows(Plan([Aggregate("count", 10)], [], 10)), MemoryState()
    for at in (100, 90, 91):
        windows.update(state, at, [])
    assert windows.packing.unpacked(state, state.head or b"").rows.open == [(91,), (100,)]
